"""Everyday commands against a real service: forgetting, correcting, holding, and what is refused."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import numpy as np
import pytest
from support.command_line import Lacuna

from evidence.receipt import check_receipt, read_receipt
from service.demo.running_service import RunningService


def test_everything_is_not_forgotten_by_a_slip(lacuna: Lacuna) -> None:
    said = lacuna("forget", "--everything", "--url", "http://127.0.0.1:9", "--key", "k")
    assert said.status == 2
    assert "--yes" in said.err


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
    receipt = tmp_path / "receipt.json"
    assert asked("receipt", request["id"], "--out", str(receipt)).status == 0
    named = read_receipt(receipt.read_text())
    payload = json.loads(base64.b64decode(json.loads(saved.read_text())["payload"]))
    check_receipt(named, payload["predicate"]["commitments"]["named"], "ada")
    assert asked("receipt", request["id"], "--place", "1", "--out", str(receipt)).status == 3


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
def test_a_certificate_that_was_changed_or_whose_key_was_revoked(
    asked: Lacuna, service: RunningService, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = service.client.forget(record_ids=["r3"])
    service.client.wait_for_request(request["id"])
    envelope = json.loads(service.client.certificate(request["id"]))
    envelope["payload"] = "e30="
    changed = json.dumps(envelope).encode()
    with monkeypatch.context() as patch:
        patch.setattr("service.client.LacunaClient.certificate", lambda self, request: changed)
        said = asked("certificate", request["id"])
    assert said.status == 1
    assert "does not verify" in said.err
    revoked = [{**key, "state": "revoked"} for key in service.client.signing_keys()]
    monkeypatch.setattr("service.client.LacunaClient.signing_keys", lambda self: revoked)
    said = asked("certificate", request["id"])
    assert (said.status, "The signature verifies" in said.out) == (1, True)
    assert "was revoked" in said.err


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
