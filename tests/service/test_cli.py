"""The command line: works for a stranger, and says what is wrong in one sentence."""

from __future__ import annotations

import asyncio
import ctypes
import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.command_line import Lacuna

from ledger.tenants import SCOPES
from service.demo.running_service import RunningService
from service.embedded import EmbeddedServer
from service.serving.inference import Inference
from service.serving.outputs import Answer
from service.serving.passes import Query

COMMANDS = (
    "server",
    "worker",
    "reconcile",
    "jobs",
    "retry",
    "upload",
    "forget",
    "status",
    "extend",
    "certificate",
    "receipt",
    "verify certificate",
    "verify log",
    "correct",
    "hold place",
    "hold list",
    "hold release",
    "suppression count",
    "suppression withdraw",
    "follow",
    "webhook add",
    "webhook list",
    "webhook ping",
    "webhook deliveries",
    "webhook replay",
    "webhook remove",
    "demo",
    "doctor",
    "db upgrade",
    "db downgrade",
    "db check",
    "db roles",
    "audit replay",
    "signing-keys list",
    "signing-keys rotate",
    "signing-keys revoke",
    "signing-keys revocations",
    "key create",
    "key list",
    "key rotate",
    "key change",
    "key budget",
    "key revoke",
    "people add",
    "people list",
    "people disable",
    "people password",
)


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_explains_itself(lacuna: Lacuna, command: str) -> None:
    said = lacuna(*command.split(), "--help")
    assert said.status == 0
    assert "Example: lacuna" in said.out if command else "Exit status" in said.out


def test_the_version_is_that_of_the_package(lacuna: Lacuna) -> None:
    assert lacuna("--version").out.startswith("lacuna 0.")


def test_help_does_not_load_torch() -> None:
    script = "import sys; from service import cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_a_database_is_upgraded_and_checked(lacuna: Lacuna, tmp_path: Path) -> None:
    before = lacuna("db", "check", "--data-dir", str(tmp_path / "new"))
    assert before.status == 3
    assert "lacuna db upgrade" in before.err
    assert lacuna("db", "upgrade", "--data-dir", str(tmp_path / "new")).status == 0
    assert lacuna("db", "check", "--data-dir", str(tmp_path / "new")).status == 0


def test_a_settings_file_is_read_and_options_win(lacuna: Lacuna, tmp_path: Path) -> None:
    settings = tmp_path / "lacuna.env"
    settings.write_text(f"LACUNA_DATA_DIR={tmp_path / 'named'}\nOTHER=1\n")
    assert lacuna("db", "upgrade", "--settings", str(settings)).status == 0
    assert (tmp_path / "named" / "ledger.db").exists()
    assert lacuna("db", "upgrade", "--settings", str(settings), "--data-dir", str(tmp_path / "option")).status == 0
    assert (tmp_path / "option" / "ledger.db").exists()


def test_a_wrong_setting_is_named(lacuna: Lacuna, tmp_path: Path) -> None:
    settings = tmp_path / "lacuna.env"
    settings.write_text("LACUNA_SHARD_RECORDS=none\n")
    said = lacuna("db", "check", "--settings", str(settings))
    assert said.status == 2
    assert "SHARD_RECORDS" in said.err.upper()
    assert "Traceback" not in said.err


def test_a_key_needs_scopes_that_exist(lacuna: Lacuna) -> None:
    assert lacuna("db", "upgrade").status == 0
    assert lacuna("key", "create", "--label", "x").status == 2
    assert lacuna("key", "create", "--label", "x", "--scope", "everything").status == 2
    made = json.loads(lacuna("key", "create", "--label", "x", "--scope", "audit:read", "--json").out)
    assert made["key"].startswith("lacuna_")
    assert made["scopes"] == ["audit:read"]


def test_keys_are_listed_rotated_and_revoked(lacuna: Lacuna) -> None:
    assert lacuna("db", "upgrade").status == 0
    made = json.loads(
        lacuna("key", "create", "--label", "x", "--scope", "predict", "--expires-in-days", "2", "--json").out
    )
    rotated = json.loads(lacuna("key", "rotate", made["id"], "--overlap-hours", "0", "--json").out)
    assert rotated["key"] != made["key"]
    assert json.loads(lacuna("key", "revoke", rotated["id"], "--json").out)["state"] == "revoked"
    listed = lacuna("key", "list", "--json").out
    assert [(one["state"], one["label"]) for one in json.loads(listed)["keys"]] == [("expired", "x"), ("revoked", "x")]
    assert made["key"] not in listed
    assert "revoked" in lacuna("key", "list").out
    assert lacuna("key", "rotate", rotated["id"]).status == 3
    assert lacuna("key", "revoke", "0" * 32).status == 3
    assert lacuna("key", "list", "--tenant", "nobody").status == 3


def test_no_service_and_no_key_are_told_apart(lacuna: Lacuna) -> None:
    nowhere = lacuna("status")
    assert nowhere.status == 2
    assert "--url" in nowhere.err
    without_key = lacuna("status", "--url", "http://127.0.0.1:9")
    assert without_key.status == 2
    assert "LACUNA_API_KEY" in without_key.err
    unreachable = lacuna("status", "--url", "http://127.0.0.1:9", "--key", "k")
    assert unreachable.status == 4
    assert "No service answers at http://127.0.0.1:9" in unreachable.err


@pytest.mark.acceptance
def test_a_second_server_on_the_same_directory_is_refused(
    lacuna: Lacuna, service: RunningService, folder: Path
) -> None:
    data = str(folder / "data")
    said = lacuna("server", "--data-dir", data, "--port", "0")
    assert said.status == 5
    assert "Another server" in said.err
    found = lacuna("status", "--data-dir", data, "--key", service.key)  # the address is noted in the directory
    assert found.status == 0


@pytest.mark.acceptance
def test_a_taken_port_is_named(lacuna: Lacuna, service: RunningService, tmp_path: Path) -> None:
    port = service.url.rpartition(":")[2]
    said = lacuna("server", "--data-dir", str(tmp_path / "other"), "--port", port)
    assert said.status == 5
    assert f"127.0.0.1 port {port}" in said.err


@pytest.mark.parametrize("threads", [1, 3])
def test_predictions_compute_with_the_servers_number_of_threads(
    lacuna: Lacuna, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    """Set once by the command, and taken over by the threads that predict."""
    found: list[int] = []

    def run(_server: EmbeddedServer) -> None:
        def look(_model: object, queries: list[Query]) -> None:
            found.append(omp_threads())
            queries[0].outcome = Answer("", 1, b"")

        inference = Inference(workers=1)
        monkeypatch.setattr("service.serving.inference.compute", look)
        model: Any = SimpleNamespace(sizes=())
        asyncio.run(inference.answer(model, None, None))  # type: ignore[arg-type]  # not looked at
        inference.close()

    monkeypatch.setattr(EmbeddedServer, "run", run)
    monkeypatch.setenv("LACUNA_TORCH_THREADS", str(threads))
    lacuna("server", "--no-worker", "--port", "0")
    assert found == [threads]


def omp_threads() -> int:
    """Return how many threads OpenMP would use here; asking torch for it would already set them."""
    # torch's own copy: other packages bring one too.
    (library,) = set(re.findall(r"/\S*/torch/lib/lib[gi]omp\S*", Path("/proc/self/maps").read_text()))
    return int(ctypes.CDLL(library).omp_get_max_threads())


def test_the_first_key_may_do_everything(service: RunningService) -> None:
    assert set(service.client.me()["scopes"]) == set(SCOPES)


def test_a_list_of_networks_that_cannot_be_read_is_said_in_one_sentence(
    lacuna: Lacuna, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LACUNA_ARCHITECTURES", "mine=no_such_package_here:network")
    said = lacuna("server", "--no-worker", "--port", "0")
    assert said.status == 2
    assert "'mine'" in said.err
    assert "LACUNA_ARCHITECTURES" in said.err
    assert "Traceback" not in said.err


def test_roles_and_downgrades_say_why_not(lacuna: Lacuna) -> None:
    assert lacuna("db", "upgrade").status == 0
    assert not Path("lacuna-data/keys").exists(), "whoever owns the tables needs no keys"
    refused = lacuna("db", "roles")
    assert (refused.status, refused.out) == (3, "")
    assert "SQLite has no roles" in refused.err
    refused = lacuna("db", "downgrade", "never")
    assert refused.status == 3
    assert "'never'" in refused.err
    assert lacuna("db", "downgrade", "0006").status == 0
    assert "lacuna db upgrade" in lacuna("db", "check").err
    assert lacuna("key", "create", "--label", "x", "--scope", "predict").status == 3
    assert lacuna("db", "upgrade").status == 0
    assert lacuna("key", "create", "--label", "x", "--scope", "predict").status == 0
    refused = lacuna("db", "downgrade", "base")
    assert refused.status == 3
    assert "table api_keys (1 rows)" in refused.err
    assert lacuna("db", "check").status == 0


def test_roles_are_printed_for_an_administrator(
    lacuna: Lacuna, fresh_postgres_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LACUNA_DATABASE_URL", fresh_postgres_database)
    assert lacuna("db", "upgrade").status == 0
    said = lacuna("db", "roles", "--print").out
    assert "GRANT SELECT, INSERT ON events TO lacuna_app;" in said
    assert "GRANT SELECT ON events TO lacuna_auditor;" in said
    assert "GRANT SELECT ON api_keys TO lacuna_auditor;" not in said
