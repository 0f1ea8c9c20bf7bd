"""The measurements of docs/results.md. Run from the repository's root: `python -m benchmarks.results --help`."""
