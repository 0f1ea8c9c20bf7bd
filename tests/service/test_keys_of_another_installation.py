"""A process that finds another installation's keys, or just made some in an empty folder, does not start."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support.command_line import Lacuna

COMMANDS = ("server --no-worker --port 0", "worker", "reconcile", "signing-keys list", "key list")


@pytest.mark.parametrize("command", COMMANDS)
def test_whoever_cannot_open_the_databases_keys_says_so_and_ends(lacuna: Lacuna, command: str) -> None:
    assert lacuna("db", "upgrade").status == 0
    assert lacuna("key", "create", "--label", "x", "--scope", "predict").status == 0
    keys, backup = Path("lacuna-data/keys"), Path("backup")
    keys.rename(backup)  # as if the volume were not mounted
    for _ in range(2):  # the first one made keys of its own, which change nothing
        said = lacuna(*command.split())
        assert said.status == 3
        assert "is not the one that this database's keys are closed with. Restore the key directory" in said.err
        assert "Traceback" not in said.err
    shutil.rmtree(keys)
    backup.rename(keys)
    assert lacuna("key", "list").status == 0
