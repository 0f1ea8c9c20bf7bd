"""The command line: works for a stranger, and says what is wrong in one sentence."""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from ledger.tenants import SCOPES
from service import cli
from service.demo.running_service import RunningService, running_service
from service.embedded import EmbeddedServer
from service.serving.inference import Inference

COMMANDS = (
    "server",
    "worker",
    "reconcile",
    "jobs",
    "retry",
    "upload",
    "forget",
    "status",
    "certificate",
    "correct",
    "hold place",
    "hold list",
    "hold release",
    "suppression count",
    "suppression withdraw",
    "demo",
    "db upgrade",
    "db downgrade",
    "db check",
    "db roles",
    "key create",
)


@dataclass(frozen=True)
class Said:
    """What a command printed, and its exit status."""

    status: int
    out: str
    err: str


Lacuna = Callable[..., Said]


@pytest.fixture
def lacuna(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Lacuna]:
    """A function that runs the command line in this process, in an empty directory."""
    monkeypatch.chdir(tmp_path)
    before = dict(os.environ)  # commands set variables for their child processes
    threads = torch.get_num_threads()  # `lacuna server` sets them for its process, which here is ours
    for name in before:
        if name.startswith("LACUNA_"):
            del os.environ[name]

    def run(*arguments: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["lacuna", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return Said(int(ended.value.code or 0), said.out, said.err)

    yield run
    torch.set_num_threads(threads)
    os.environ.clear()
    os.environ.update(before)


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


def test_everything_is_not_forgotten_by_a_slip(lacuna: Lacuna) -> None:
    said = lacuna("forget", "--everything", "--url", "http://127.0.0.1:9", "--key", "k")
    assert said.status == 2
    assert "--yes" in said.err


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the real server keeps everything."""
    return tmp_path_factory.mktemp("service")


@pytest.fixture(scope="module")
def service(folder: Path) -> Iterator[RunningService]:
    """A real server with a worker, and two people's records in a cohort."""
    with running_service(folder) as running:
        cohort = running.client.create_cohort(
            "people", kind="user", shape=[2], dtype="float32", class_names=["no", "yes"]
        )
        running.client.upload(
            cohort["id"],
            np.zeros((3, 2), np.float32),
            np.array([0, 1, 1]),
            subjects=np.array(["ada", "ada", "bob"]),
            ids=np.array(["r1", "r2", "r3"]),
        )
        yield running


@pytest.fixture
def asked(lacuna: Lacuna, service: RunningService, monkeypatch: pytest.MonkeyPatch) -> Lacuna:
    """The command line, told by the environment where the service is."""
    monkeypatch.setenv("LACUNA_URL", service.url)
    monkeypatch.setenv("LACUNA_API_KEY", service.key)
    return lacuna


@pytest.mark.acceptance
def test_forgetting_from_a_terminal(asked: Lacuna, tmp_path: Path) -> None:
    assert "No forget requests yet" in asked("status").out
    done = asked("forget", "--subject", "ada", "--cohort", "people", "--wait", "--json")
    assert done.status == 0
    request = json.loads(done.out)
    assert (request["state"], request["records"]) == ("completed", 2)
    assert "completed, erased" in asked("status", request["id"]).out
    assert request["id"] in asked("status").out
    assert json.loads(asked("status", "--json").out)["requests"][0]["id"] == request["id"]
    saved = tmp_path / "certificate.json"
    shown = asked("certificate", request["id"], "--out", str(saved))
    assert shown.status == 0
    assert "The signature verifies" in shown.out
    assert asked("certificate", request["id"], "--json").out.strip() == saved.read_text()


@pytest.mark.acceptance
def test_a_dry_run_from_a_terminal(asked: Lacuna) -> None:
    before = asked("status", "--json").out
    said = asked("forget", "--subject", "bob", "--dry-run")
    assert said.status == 0
    assert "Nothing was changed" in said.out
    assert "erased" in said.out
    found = json.loads(asked("forget", "--record", "r3", "--dry-run", "--json").out)
    assert (found["outcome"], found["records"], found["models"]) == ("erased", 1, [])
    assert json.loads(asked("forget", "--everything", "--dry-run", "--json").out)["records"] >= 1
    assert asked("status", "--json").out == before
    assert asked("forget", "--label", "7", "--dry-run").status == 3


@pytest.mark.acceptance
def test_refusals_are_one_sentence(asked: Lacuna) -> None:
    nothing = asked("forget", "--label", "7")
    assert nothing.status == 3
    assert nothing.err.startswith("Error: ")
    assert "class index" in nothing.err
    assert asked("status", "0" * 32).status == 3
    assert asked("status", "--key", "lacuna_wrong").status == 3
    no_match = json.loads(asked("forget", "--subject", "nobody", "--wait", "--json").out)
    assert asked("certificate", no_match["id"]).status == 3


@pytest.mark.acceptance
def test_a_certificate_that_was_changed_is_not_shown(
    asked: Lacuna, service: RunningService, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = service.client.forget(record_ids=["r3"])
    service.client.wait_for_request(request["id"])
    envelope = json.loads(service.client.certificate(request["id"]))
    envelope["payload"] = "e30="
    changed = json.dumps(envelope).encode()
    monkeypatch.setattr("service.client.LacunaClient.certificate", lambda self, request: changed)
    said = asked("certificate", request["id"])
    assert said.status == 1
    assert "does not verify" in said.err


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
        inference = Inference(workers=1)
        monkeypatch.setattr("service.serving.inference.compute", lambda *_: found.append(omp_threads()))
        asyncio.run(inference.answer(None, None))  # type: ignore[arg-type]  # not looked at
        inference.close()

    monkeypatch.setattr(EmbeddedServer, "run", run)
    monkeypatch.setenv("LACUNA_TORCH_THREADS", str(threads))
    lacuna("server", "--no-worker", "--port", "0")
    assert found == [threads]


def omp_threads() -> int:
    """Return how many threads OpenMP would use here; asking torch for it would already set them."""
    (library,) = set(re.findall(r"/\S*lib[gi]omp\S*", Path("/proc/self/maps").read_text()))
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


@pytest.mark.acceptance
def test_a_file_is_uploaded_from_a_terminal(asked: Lacuna, tmp_path: Path) -> None:
    path = tmp_path / "more.ndjson"
    path.write_text("".join(f'{{"x": [1, {i}], "y": "yes", "id": "more-{i}"}}\n' for i in range(40)))
    done = asked("upload", "people", str(path), "--wait", "--json")
    assert done.status == 0, done.err
    assert json.loads(done.out)["records"] == 40
    again = asked("upload", "people", str(path))
    assert again.status == 3
    assert "are stored already" in again.err
    path.write_text('{"x": [1], "y": 0}\n')
    refused = asked("upload", "people", str(path))
    assert (refused.status, "(rows 0)" in refused.err) == (3, True)
    unknown = asked("upload", "people", str(path.rename(tmp_path / "more.txt")))
    assert (unknown.status, "*.txt is not known" in unknown.err) == (1, True)


@pytest.fixture
def carol(service: RunningService, request: pytest.FixtureRequest) -> str:
    """Somebody of this test alone, with one record."""
    cohort = next(c["id"] for c in service.client.cohorts() if c["name"] == "people")
    name = f"carol-{request.node.name}"
    stored = service.client.upload(
        cohort, np.ones((1, 2), np.float32), np.array([1]), subjects=np.array([name]), ids=np.array([f"{name}/0"])
    )
    service.client.wait_for_job(stored["job"])
    return name


@pytest.mark.acceptance
def test_correcting_from_a_terminal(asked: Lacuna, carol: str, tmp_path: Path) -> None:
    path = tmp_path / "corrected.ndjson"
    path.write_text(json.dumps({"id": f"{carol}/0", "subject": carol, "x": [1, 7], "y": "no"}) + "\n")
    done = asked("correct", "people", str(path), "--wait", "--json")
    assert done.status == 0, done.err
    stored = json.loads(done.out)
    assert stored["records"] == 1
    assert (stored["request"]["selector"], stored["request"]["outcome"]) == ("correction", "erased")
    assert stored["request"]["id"] == stored["forget_request"]
    shown = asked("correct", "people", str(path))
    assert shown.status == 0, shown.err
    assert "1 corrected records are stored" in shown.out
    assert "Follow it with: lacuna status" in shown.out
    path.write_text(json.dumps({"id": "never stored", "y": "no"}) + "\n")
    refused = asked("correct", "people", str(path))
    assert (refused.status, "(rows 0)" in refused.err) == (3, True)
    assert refused.err.startswith("Error: ")
    unknown = asked("correct", "people", str(path), "--format", "csv")
    assert (unknown.status, "there is no format 'csv'" in unknown.err) == (1, True)


@pytest.mark.acceptance
def test_a_hold_from_a_terminal(asked: Lacuna, carol: str) -> None:
    assert "No holds are in force" in asked("hold", "list").out
    placed = json.loads(asked("hold", "place", "--subject", carol, "--reason", "case [7]", "--json").out)
    assert (placed["records"], placed["leaving"], placed["reason"]) == (1, 0, "case [7]")
    listed = asked("hold", "list")
    assert placed["id"] in listed.out
    assert "case [7]" in listed.out
    assert json.loads(asked("hold", "list", "--json").out) == {"holds": [placed]}
    stopped = json.loads(asked("forget", "--subject", carol, "--wait", "--json").out)
    assert (stopped["outcome"], stopped["held"]) == ("on_hold", 1)
    assert "1 records" in asked("status", stopped["id"]).out
    released = asked("hold", "release", placed["id"], "--wait")
    assert released.status == 0, released.err
    (again,) = [line.split()[-1] for line in released.out.splitlines() if "filed again" in line]
    assert "completed, erased" in asked("status", again).out
    assert f"lacuna status {stopped['id']}" in asked("status", again).out
    assert f"lacuna status {again}" in asked("status", stopped["id"]).out
    gone = asked("hold", "release", placed["id"])
    assert (gone.status, gone.err.startswith("Error: ")) == (3, True)
    shown = asked("hold", "place", "--subject", carol, "--reason", "case 8")
    (hold_id,) = [line.split()[-1] for line in shown.out.splitlines() if line.startswith("Release it with")]
    assert "filed again" not in asked("hold", "release", hold_id).out
    assert asked("hold", "place", "--subject", carol, "--reason", " ").status == 3


@pytest.mark.acceptance
def test_a_hold_that_comes_too_late_says_so(asked: Lacuna, carol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    late = {"id": "h", "reason": "case 9", "created_at": "2030-01-01T00:00:00Z", "records": 0, "leaving": 2}
    monkeypatch.setattr("service.client_holds.Holds.place", lambda *_, **__: late)
    assert "too late" in asked("hold", "place", "--subject", carol, "--reason", "case 9").out


@pytest.mark.acceptance
def test_withdrawing_a_suppression_from_a_terminal(asked: Lacuna, carol: str) -> None:
    before = json.loads(asked("suppression", "count", "--json").out)
    assert asked("forget", "--subject", carol, "--wait").status == 0
    said = asked("suppression", "count")
    assert said.out.startswith(f"{before['active'] + 1} people may not be uploaded")
    withdrawn = asked("suppression", "withdraw", "--subject", carol, "--subject", "never heard of", "--json")
    assert json.loads(withdrawn.out) == {"withdrawn": 1}
    assert asked("suppression", "withdraw", "--subject", carol).out.startswith("0 of them were suppressed")
    assert json.loads(asked("suppression", "count", "--json").out) == {**before, "withdrawn": before["withdrawn"] + 1}
    assert asked("suppression", "withdraw").status == 2


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
