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
from support.world import NewWorld, World, person

from evidence.certificate import examine
from evidence.errors import Contradiction, EvidenceError, NoteUnsigned, ProofInvalid, SignatureInvalid
from ledger import certificates, dsse, events
from ledger.events import canonical_bytes
from ledger.log import proofs
from ledger.log.sequencer import sequence

LATER = datetime(2100, 1, 1, tzinfo=UTC)


class Issued:
    """What an auditor holds: certificate, proof and public key of a forgotten person."""

    def __init__(self, world: World) -> None:
        world.upload(*(person(f"person-{i}") for i in range(4)))
        world.register()
        world.work()
        self.world, self.request_id = world, world.forget("person-1")
        world.work()
        sequence(world.ledger.database, world.ledger.ring)
        self.key = world.ledger.ring.public_key_pem()
        with world.ledger.database.read() as tx:
            self.certificate = certificates.get(tx, world.tenant_id, self.request_id)
            self.proof = proofs.of_event(tx, world.tenant_id, "forget.completed", self.request_id).text()
            self.checkpoint = proofs.newest_checkpoint(tx).note

    def statement(self) -> dict[str, object]:
        found: dict[str, object] = json.loads(dsse.verify_envelope(self.certificate, self.key))
        return found

    def signed(self, change: Callable[[dict], object]) -> bytes:  # type: ignore[type-arg]
        """Sign the statement with the real key after a change: what a dishonest operator could do."""
        statement = self.statement()
        change(statement)
        return dsse.sign_envelope(canonical_bytes(statement), dsse.IN_TOTO, self.world.ledger.ring)


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


CONTRADICTIONS: dict[str, tuple[Callable[[dict], object], str]] = {  # type: ignore[type-arg]
    "a fact that does not hold": (
        lambda s: s["predicate"]["facts"]["gone"].update(holds=False),
        "'gone' does not hold",
    ),
    "another subject": (lambda s: s["subject"][0]["digest"].update({"hmac-sha256": "0" * 64}), "subjects are not"),
    "another version": (lambda s: s["predicate"]["models"][0].update(version=9), "is not version 9"),
    "an anchor to come": (lambda s: s["predicate"]["models"][0].update(anchor_version=7), "cannot rest on"),
    "a smaller bound": (lambda s: s["predicate"]["models"][0].update(output_bound="0.5"), "not the sum"),
    "completed before received": (
        lambda s: s["predicate"]["request"].update(completed_at="2001-01-01T00:00:00.000000Z"),
        "not in order",
    ),
    "nothing about a fact": (lambda s: s["predicate"]["facts"].pop("unserved"), "something is missing"),
    "no models": (lambda s: s["predicate"].update(models=[]), "subjects are not"),
}


@pytest.mark.parametrize("how", CONTRADICTIONS)
def test_a_signed_contradiction_is_named(issued: Issued, how: str) -> None:
    change, told = CONTRADICTIONS[how]
    with pytest.raises(Contradiction, match=told):
        examine(issued.signed(change), issued.key, now=LATER)


def test_a_clock_that_is_behind_is_named(issued: Issued) -> None:
    with pytest.raises(Contradiction, match="one of the two clocks is wrong"):
        examine(issued.certificate, issued.key, now=datetime.now(UTC) - timedelta(days=3650))


def test_a_certificate_that_was_signed_anew_is_not_the_one_in_the_log(issued: Issued) -> None:
    again = issued.signed(lambda s: s["predicate"].update(outcome="partially_core"))
    with pytest.raises(Contradiction, match="names another certificate"):
        examine(again, issued.key, proof=issued.proof, now=LATER)


def test_foreign_keys_logs_and_old_proofs_are_named(issued: Issued, new_world: NewWorld) -> None:
    other = Issued(new_world())
    with pytest.raises(SignatureInvalid, match="no signature was made by the given key"):
        examine(issued.certificate, other.key, now=LATER)
    with pytest.raises(NoteUnsigned, match="no signature line names this key"):
        examine(issued.certificate, issued.key, proof=other.proof, now=LATER)
    with pytest.raises(NoteUnsigned):
        examine(issued.certificate, issued.key, proof=issued.proof, since=other.checkpoint, now=LATER)
    with other.world.ledger.database.begin() as tx:
        events.append(tx, other.world.tenant_id, "test", "0" * 32)
    sequence(other.world.ledger.database, other.world.ledger.ring)
    with other.world.ledger.database.read() as tx:
        newer = proofs.newest_checkpoint(tx).note
    with pytest.raises(ProofInvalid, match="turned back, or is old"):
        examine(other.certificate, other.key, proof=other.proof, since=newer, now=LATER)


def test_the_command_of_outsiders_needs_neither_service_nor_torch(issued: Issued, tmp_path: Path) -> None:
    names = {
        "certificate.json": issued.certificate,
        "key.pem": issued.key.encode(),
        "p.tlog-proof": issued.proof.encode(),
    }
    for name, content in names.items():
        (tmp_path / name).write_bytes(content)
    code = (
        "import sys; from evidence.__main__ import main; status = main(sys.argv[1:]);"
        "heavy = {'torch', 'service', 'ledger', 'sqlalchemy', 'numpy', 'fastapi', 'unlearning'} & set(sys.modules);"
        "assert not heavy, heavy; sys.exit(status)"
    )
    root = Path(__file__).parents[2]

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", code, *arguments]
        environment = {**os.environ, "PYTHONPATH": str(root)}
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    good = run("certificate.json", "--key", "key.pem", "--proof", "p.tlog-proof")
    assert (good.returncode, good.stderr) == (0, "")
    assert "Proven here:" in good.stdout
    assert "Not covered:" in good.stdout
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
