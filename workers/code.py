"""Which code makes versions and certificates: its version, and one digest over its modules as they are installed."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from pathlib import Path

import evidence
import ledger
import unlearning
import workers
from evidence.code import digest_of

PACKAGES = (evidence, ledger, unlearning, workers)
"""What decides about versions and certificates; the web service and its pages do not."""


@cache  # of files that do not change under a running process; it has loaded most of them already
def installed() -> dict[str, str]:
    """Return the package's name and version, which packages count, and the SHA-256 over their modules."""
    folders = [Path(package.__path__[0]) for package in PACKAGES]
    return {
        "package": "lacuna",
        "version": version("lacuna"),
        "modules": ", ".join(package.__name__ for package in PACKAGES),
        "sha256": digest_of(folders),
    }
