"""Where the script `lacuna` begins: checking a certificate loads nothing that an outsider would not have."""

from __future__ import annotations

import sys

from evidence import __main__ as outsider


def main() -> None:
    """Run the command line. `lacuna verify certificate` is `python -m evidence`: no database, no web, no torch."""
    if sys.argv[1:3] == ["verify", "certificate"] and "--help" not in sys.argv:
        sys.exit(outsider.main(sys.argv[3:]))
    from service import cli

    cli.main()
