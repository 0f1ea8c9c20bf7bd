"""Which code certificates name: that which is installed."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from evidence.code import digest_of
from workers import code


def test_it_names_what_is_installed() -> None:
    root = Path(code.__file__).parents[1]
    named = ("evidence", "ledger", "unlearning", "workers")
    assert code.installed() == {
        "package": "lacuna",
        "version": version("lacuna"),
        "modules": ", ".join(named),
        "sha256": digest_of(root / name for name in named),
    }
