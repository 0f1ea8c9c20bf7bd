"""A real certificate and its place in the log, checked by the package that outsiders use."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.issued import Issued, Statement, in_the_first_form, receipt_of
from support.world import NewWorld

from evidence.certificate import OLDER, examine
from evidence.checkpoint import Checkpoint
from evidence.errors import (
    Contradiction,
    EvidenceError,
    Malformed,
    NoteUnsigned,
    ProofInvalid,
    ReceiptRefused,
    SignatureInvalid,
)
from evidence.signed_note import NoteKey
from ledger import events
from ledger.log import proofs
from ledger.log.sequencer import sequence

LATER = datetime(2100, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def issued(tmp_path_factory: pytest.TempPathFactory) -> Issued:
    from support.world import make_world

    folder = tmp_path_factory.mktemp("issued")
    return Issued(make_world(folder, f"sqlite:///{folder / 'ledger.db'}"))


def test_a_certificate_holds_with_its_place_in_the_log(issued: Issued) -> None:
    found = examine(issued.certificate, issued.key, proof=issued.proof, since=issued.checkpoint, now=LATER)
    assert len(found.proven) == 3
    assert [line.split(":")[0] for line in found.said] == ["removed", "solved", "gone", "unserved"]
    assert found.not_covered
    alone = examine(issued.certificate, issued.key, now=LATER)
    assert (len(alone.proven), "no proof was given" in alone.said[-1]) == (2, True)


def test_a_certificate_of_a_model_with_noise_holds(new_world: NewWorld) -> None:
    noisy = {"solver": "krylov", "noise": "isotropic", "sigma": 0.2, "kappa": 0.002, "mu": 0.05}
    made = Issued(new_world(), **noisy)
    (said,) = made.statement()["predicate"]["models"]
    assert (said["output_bound"], said["releases"]) == ("0.004", 2)
    assert len(examine(made.certificate, made.key, proof=made.proof, now=LATER).proven) == 3


def test_one_flipped_byte_anywhere_fails(issued: Issued) -> None:
    for position in range(len(issued.certificate)):
        changed = bytearray(issued.certificate)
        changed[position] ^= 1 << position % 8
        with pytest.raises(EvidenceError):
            examine(bytes(changed), issued.key, now=LATER)
    proof = issued.proof.encode()
    for position in range(len(proof)):
        changed = bytearray(proof)
        changed[position] ^= 1 << position % 8
        with pytest.raises(EvidenceError):
            examine(issued.certificate, issued.key, proof=changed.decode(errors="replace"), now=LATER)


def predicate(change: Callable[[Statement], object]) -> Callable[[Statement], object]:
    return lambda statement: change(statement["predicate"])


def model(**changes: object) -> Callable[[Statement], object]:
    return lambda statement: statement["predicate"]["models"][0].update(changes)


CONTRADICTIONS: dict[str, tuple[Callable[[Statement], object], str]] = {
    "a fact that does not hold": (predicate(lambda p: p["facts"]["gone"].update(holds=False)), "'gone' does not hold"),
    "another subject": (lambda s: s["subject"][0]["digest"].update({"hmac-sha256": "0" * 64}), "subjects are not"),
    "a subject of another number": (lambda s: s["subject"][0].update(name="model@9"), "model@9 is not version 2"),
    "another version": (model(version=9), "is not version 9"),
    "an anchor to come": (model(anchor_version=7), "cannot rest on"),
    "no anchor": (model(anchor_version=0), "cannot rest on"),
    "a larger bound of a model": (model(output_bound="0.5", state_bound="0.5"), "output_bound is not the sum"),
    "a larger bound in sum": (
        predicate(lambda p: p["bounds"]["state_bound"].update(value="0.5")),
        "state_bound is not the sum",
    ),
    "completed before received": (
        predicate(lambda p: p["request"].update(completed_at="2001-01-01T00:00:00.000000Z")),
        "times are not in order",
    ),
    "received after the erasure": (
        predicate(lambda p: p["request"].update(received_at=p["request"]["completed_at"].replace("20", "21", 1))),
        "times are not in order",
    ),
    "erased after completed": (
        predicate(lambda p: p.update(erased_live_at=p["unrecoverable_from_backups_after"])),
        "times are not in order",
    ),
    "erased before received": (
        predicate(lambda p: p.update(erased_live_at="2001-01-01T00:00:00.000000Z")),
        "times are not in order",
    ),
    "backups older than the erasure": (
        predicate(lambda p: p.update(unrecoverable_from_backups_after=p["request"]["received_at"])),
        "times are not in order",
    ),
    "nothing about a fact": (predicate(lambda p: p["facts"].pop("unserved")), "something is missing"),
    "no models": (predicate(lambda p: p.update(models=[])), "subjects are not"),
    "an outcome that none certifies": (predicate(lambda p: p.update(outcome="no_match")), "the outcome 'no_match'"),
    "a core that is not spoken of": (predicate(lambda p: p.update(outcome="partially_core")), "about the core"),
    "a core that is spoken of": (predicate(lambda p: p.update(core_overlap="some")), "about the core"),
    "a commitment that is none": (
        predicate(lambda p: p["commitments"].update(named="person-1")),
        "commitment to what was named is none",
    ),
    "a receipt for nothing": (predicate(lambda p: p["commitments"].update(named=None)), "nothing that it could open"),
    "weights' commitment that is none": (
        lambda s: (model(weights_commitment="x")(s), s["subject"][0]["digest"].update({"hmac-sha256": "x"})),
        "a digest or a commitment that is none",
    ),
    "statistics' commitment that is none": (model(statistics_commitment=""), "a digest or a commitment that is none"),
    "a core's digest that is none": (
        predicate(lambda p: p["models"][0]["digests"].update(core="A" * 64)),
        "a digest or a commitment that is none",
    ),
    "no digest of the map": (predicate(lambda p: p["models"][0]["digests"].pop("map")), "something is missing"),
    "another way of solving": (model(method="guessed"), "not solved in any way"),
    "no mu": (model(mu=""), "not solved in any way"),
    "more published than kept": (
        predicate(
            lambda p: (p["models"][0].update(output_bound="1"), p["bounds"]["output_bound"].update(value="1")),
        ),
        "tells more in what is published",
    ),
    "exact, and telling": (
        predicate(
            lambda p: (p["models"][0].update(state_bound="1"), p["bounds"]["state_bound"].update(value="1")),
        ),
        "solved exactly, and still tells",
    ),
    "less than kappa a version": (
        lambda s: (
            model(method="sgd", kappa="0.1", releases=2, output_bound="0.1", state_bound="0.1")(s),
            *(s["predicate"]["bounds"][name].update(value="0.1") for name in ("output_bound", "state_bound")),
        ),
        "not kappa for each version",
    ),
    "a residual that failed": (
        predicate(lambda p: p["models"][0]["checks"].update(residual="fail")),
        "a check of version 2 has not passed",
    ),
    "a transition that failed": (
        predicate(lambda p: p["models"][0]["checks"].update(transition="fail")),
        "a check of version 2 has not passed",
    ),
    "less than nothing": (
        lambda s: (
            in_the_first_form(s),
            model(output_bound="-1")(s),
            s["predicate"]["bounds"]["output_bound"].update(value="-1"),
        ),
        "output_bound is not the sum",
    ),
    "no code": (predicate(lambda p: p["code"].update(sha256="")), "which code made it"),
    "unserved after the erasure": (
        predicate(lambda p: p["facts"]["unserved"].update(since=p["request"]["completed_at"])),
        "before the old versions were out of service",
    ),
    "kept without a purpose": (predicate(lambda p: p["retained"][0].update(purpose="")), "without saying what, why"),
    "kept until yesterday": (
        predicate(lambda p: p["retained"][0].update(until="2001-01-01T00:00:00.000000Z")),
        "until a time before the request",
    ),
    "kept nothing": (predicate(lambda p: p.update(retained=[])), "nothing that is kept"),
    "no place of revocation": (predicate(lambda p: p["revocation"].update(keys="")), "no place where"),
    "no adversary": (predicate(lambda p: p.update(adversary="")), "no adversary"),
    "all is covered": (predicate(lambda p: p.update(not_covered=[])), "nothing that it does not cover"),
    "a fact without evidence": (predicate(lambda p: p["facts"]["removed"].update(evidence="")), "has no evidence"),
    "published at no time": (predicate(lambda p: p["request"].update(published_at="soon")), "something is missing"),
}


@pytest.mark.parametrize("how", CONTRADICTIONS)
def test_a_signed_contradiction_is_named(issued: Issued, how: str) -> None:
    change, told = CONTRADICTIONS[how]
    with pytest.raises(Contradiction, match=told):
        examine(issued.signed(change), issued.key, now=LATER)


def test_a_changed_statement_is_accepted_if_it_still_fits_together(issued: Issued) -> None:
    """The control of the test above: it is the contradiction that is refused, not the new signature."""
    examine(issued.signed(lambda s: s["predicate"]["retained"].reverse()), issued.key, now=LATER)


def test_a_clock_that_is_behind_is_named(issued: Issued) -> None:
    with pytest.raises(Contradiction, match=r"completed in the future, at .* one of the two clocks is wrong"):
        examine(issued.certificate, issued.key, now=datetime.now(UTC) - timedelta(days=3650))


def test_a_certificate_of_the_first_form_holds_and_is_named(issued: Issued) -> None:
    older = issued.signed(in_the_first_form)
    found = examine(older, issued.key, now=LATER)
    assert (len(found.proven), found.said[-1]) == (2, OLDER)
    assert OLDER not in examine(issued.certificate, issued.key, now=LATER).said
    with pytest.raises(ReceiptRefused, match="commits to no name"):
        examine(older, issued.key, receipt=issued.receipt, name=issued.named, now=LATER)


def test_another_statement_is_no_certificate_of_an_erasure(issued: Issued) -> None:
    for name in ("predicateType", "_type"):
        with pytest.raises(Malformed):
            examine(issued.signed(lambda s, name=name: s.update({name: "another"})), issued.key, now=LATER)  # type: ignore[misc]


def test_a_certificate_that_was_signed_anew_is_not_the_one_in_the_log(issued: Issued) -> None:
    again = issued.signed(lambda s: s["predicate"].update(adversary="Nobody."))
    with pytest.raises(Contradiction, match="names another certificate"):
        examine(again, issued.key, proof=issued.proof, now=LATER)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Issued:
    """A second deployment."""
    from support.world import make_world

    folder = tmp_path_factory.mktemp("other")
    return Issued(make_world(folder, f"sqlite:///{folder / 'ledger.db'}"))


def test_the_certificate_of_another_deployment_is_named(issued: Issued, other: Issued) -> None:
    with pytest.raises(SignatureInvalid, match="no signature was made by the given key"):
        examine(other.certificate, issued.key, now=LATER)


def test_the_key_of_another_deployment_is_named(issued: Issued, other: Issued) -> None:
    with pytest.raises(SignatureInvalid, match="no signature was made by the given key"):
        examine(issued.certificate, other.key, now=LATER)
    with pytest.raises(SignatureInvalid, match="no readable PEM"):
        examine(issued.certificate, issued.key[:-40], now=LATER)


def test_the_log_of_another_deployment_is_named(issued: Issued, other: Issued) -> None:
    with pytest.raises(NoteUnsigned, match="no signature line names this key"):
        examine(issued.certificate, issued.key, proof=other.proof, now=LATER)
    with pytest.raises(NoteUnsigned, match="no signature line names this key"):
        examine(issued.certificate, issued.key, proof=issued.proof, since=other.checkpoint, now=LATER)


def test_the_proof_of_another_request_is_named(issued: Issued) -> None:
    world = issued.world
    second = world.forget("person-2")
    world.work()
    sequence(world.ledger.database, world.ledger.ring)
    with world.ledger.database.read() as tx:
        theirs = proofs.of_event(tx, world.tenant_id, "forget.completed", second).text()
        accepted = proofs.of_event(tx, world.tenant_id, "forget.accepted", issued.request_id).text()
    with pytest.raises(Contradiction, match="names another certificate"):
        examine(issued.certificate, issued.key, proof=theirs, now=LATER)
    with pytest.raises(Contradiction, match="none of a completed request"):
        examine(issued.certificate, issued.key, proof=accepted, now=LATER)


def test_a_proof_cut_short_is_named(issued: Issued) -> None:
    path = [line for line in issued.proof.splitlines()[3:] if line and "lacuna" not in line]
    for cut, told in (
        (issued.proof[:200], "no proof of a log"),
        (issued.proof.replace(path[0] + "\n", "", 1), "inclusion proof fails: it is too short"),
        (issued.proof.rsplit("\n", 2)[0] + "\n", "no signed note|not signed"),
        (issued.proof.split("\n\n")[0], "holds no checkpoint"),
    ):
        with pytest.raises(EvidenceError, match=told):
            examine(issued.certificate, issued.key, proof=cut, now=LATER)


def test_a_log_that_was_turned_back_is_named(other: Issued) -> None:
    database, ring = other.world.ledger.database, other.world.ledger.ring
    with database.begin() as tx:
        events.append(tx, other.world.tenant_id, "test", "0" * 32)
    sequence(database, ring)
    with database.read() as tx:
        newer = proofs.newest_checkpoint(tx).note
    with pytest.raises(ProofInvalid, match="turned back, or is old"):
        examine(other.certificate, other.key, proof=other.proof, since=newer, now=LATER)


def test_two_logs_of_one_size_are_named(issued: Issued) -> None:
    """The operator shows one log to the auditor and another to the requester, both signed."""
    origin, size, _ = issued.checkpoint.split("\n")[:3]
    forked = Checkpoint(origin, int(size), bytes(32))
    ring = issued.world.ledger.ring
    shown = forked.signed(NoteKey(origin, ring.public_key_raw()), ring.sign)
    with pytest.raises(ProofInvalid, match="there are two logs"):
        examine(issued.certificate, issued.key, proof=issued.proof, since=shown, now=LATER)


def test_a_receipt_opens_whom_the_request_named(issued: Issued) -> None:
    found = examine(issued.certificate, issued.key, receipt=issued.receipt, name=f" {issued.named}\n", now=LATER)
    assert "the request named it" in found.proven[-1]
    alone = examine(issued.certificate, issued.key, receipt=issued.receipt, now=LATER)
    assert "Whose it is was not asked" in alone.proven[-1]
    assert issued.named not in issued.receipt


def test_a_receipt_opens_neither_another_name_nor_another_certificate(issued: Issued) -> None:
    with pytest.raises(ReceiptRefused, match="not the receipt of this subject"):
        examine(issued.certificate, issued.key, receipt=issued.receipt, name="person-0", now=LATER)
    theirs = issued.world.forget("person-3", "person-0")
    for place, name in enumerate(("person-3", "person-0")):
        foreign = receipt_of(issued.world, theirs, place).text()
        with pytest.raises(ReceiptRefused, match="receipt of another request"):
            examine(issued.certificate, issued.key, receipt=foreign, name=name, now=LATER)
    again = issued.world.forget(issued.named)  # the same person, another request: another salt
    with pytest.raises(ReceiptRefused, match="receipt of another request"):
        examine(
            issued.certificate,
            issued.key,
            receipt=receipt_of(issued.world, again).text(),
            name=issued.named,
            now=LATER,
        )


def test_the_command_of_outsiders_needs_neither_service_nor_torch(issued: Issued, tmp_path: Path) -> None:
    issued.save(tmp_path)
    code = (
        "import sys; from evidence.__main__ import main; status = main(sys.argv[1:]);"
        "heavy = {'torch', 'service', 'ledger', 'sqlalchemy', 'numpy', 'fastapi', 'unlearning'} & set(sys.modules);"
        "assert not heavy, heavy; sys.exit(status)"
    )
    root = Path(__file__).parents[2]

    def run(*arguments: str, said: str = "") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", code, *arguments]
        options = {"env": {**os.environ, "PYTHONPATH": str(root)}, "cwd": tmp_path, "input": said}
        return subprocess.run(command, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload,no-any-return]

    good = run("certificate.json", "--key", "key.pem", "--proof", "p.tlog-proof")
    assert (good.returncode, good.stderr) == (0, "")
    assert "Proven here:" in good.stdout
    assert "Not covered:" in good.stdout
    opening = ("certificate.json", "--key", "key.pem", "--receipt", "receipt.json", "--identifier-stdin")
    opened = run(*opening, said=f"{issued.named}\n")
    assert (opened.returncode, "the request named it" in opened.stdout) == (0, True)
    refused = run(*opening, said="somebody else\n")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("NOT VALID: the receipt does not open this certificate")
    assert "somebody" not in refused.stderr
    assert run("certificate.json", "--key", "key.pem", "--identifier-stdin").returncode == 2
    (tmp_path / "p.tlog-proof").write_text(issued.proof[:200])
    cut = run("certificate.json", "--key", "key.pem", "--proof", "p.tlog-proof")
    assert cut.returncode == 1
    assert cut.stderr.startswith("NOT VALID: this is no proof of a log")
    missing = run("nowhere.json", "--key", "key.pem")
    assert (missing.returncode, "nowhere.json cannot be read" in missing.stderr) == (2, True)


def test_the_proof_carries_its_entry(issued: Issued) -> None:
    line = next(line for line in issued.proof.splitlines() if line.startswith("extra "))
    entry = json.loads(base64.b64decode(line.removeprefix("extra ")))
    assert (entry["kind"], entry["subject"]) == ("forget.completed", issued.request_id)
