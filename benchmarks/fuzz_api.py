"""Does the service ever answer what its OpenAPI description does not say? The long run; a short one is a test.

Run it from the repository's root: `python -m benchmarks.fuzz_api --examples 200 --sequences 200`. It serves a small
Lacuna with a model from this process, and has schemathesis send what the description allows, what it does not, and
sequences in which calls build on earlier answers: with a key that may do everything, with one that may only predict,
and without a key.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
from pathlib import Path

import structlog


def main() -> int:
    """Run, and print what was found. Returns 0 when nothing was."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--examples", type=int, default=100, help="cases for each operation")
    parser.add_argument("--sequences", type=int, default=100, help="sequences of calls")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", help="a regular expression for the addresses")
    parser.add_argument("--keys", nargs="*", default=["all", "predict", "none"], choices=["all", "predict", "none"])
    options = parser.parse_args()
    sys.path.insert(1, str(Path(__file__).parents[1] / "tests"))
    from support.fuzzed import fuzzed_service
    from support.fuzzing import fuzz

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    wrong = 0
    for which in options.keys:
        with tempfile.TemporaryDirectory() as folder, fuzzed_service(Path(folder)) as service:
            begun = time.perf_counter()
            found = fuzz(
                service.url,
                {"all": service.key, "predict": service.narrow_key, "none": None}[which],
                seed=options.seed,
                examples=options.examples,
                sequences=options.sequences,
                on_refused=service.revive_key,
                only=options.only,
            )
        count, took_s = sum(found.answers.values()), time.perf_counter() - begun
        print(f"key {which}: {count} answers of {len(found.operations())} operations in {took_s:.0f} s")
        print("  by status: " + ", ".join(f"{status}: {n}" for status, n in sorted(found.statuses().items())))
        print(found.told() or "  nothing found")
        wrong += len(found.failures) + len(found.errors)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
