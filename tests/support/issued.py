"""What an auditor and a requester hold after somebody was forgotten: certificate, proof, checkpoint, key, receipt."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from evidence.receipt import Receipt
from ledger import certificates, dsse, receipts, requests
from ledger.events import canonical_bytes
from ledger.log import proofs
from ledger.log.sequencer import sequence
from support.world import World, person

Statement = dict[str, Any]


class Issued:
    """Everything about the request that forgot `named`, in a small Lacuna with one model."""

    def __init__(self, world: World, named: str = "person-1", **model: Any) -> None:
        world.upload(*(person(f"person-{i}") for i in range(4)))
        world.register(**model)
        world.work()
        self.world, self.named, self.request_id = world, named, world.forget(named)
        world.work()
        sequence(world.ledger.database, world.ledger.ring)
        self.key = world.ledger.ring.public_key_pem()
        with world.ledger.database.read() as tx:
            self.certificate = certificates.get(tx, world.tenant_id, self.request_id)
            self.proof = proofs.of_event(tx, world.tenant_id, "forget.completed", self.request_id).text()
            self.checkpoint = proofs.newest_checkpoint(tx).note
        self.receipt = receipt_of(world, self.request_id).text()

    def statement(self) -> Statement:
        """Return what the certificate states."""
        found: Statement = json.loads(dsse.verify_envelope(self.certificate, self.key))
        return found

    def signed(self, change: Callable[[Statement], object]) -> bytes:
        """Sign the statement with the real key after a change: what a dishonest operator could do."""
        statement = self.statement()
        change(statement)
        return dsse.sign_envelope(canonical_bytes(statement), dsse.IN_TOTO, self.world.ledger.ring)

    def save(self, folder: Path) -> None:
        """Write what an outsider checks with into files."""
        files = {
            "certificate.json": self.certificate,
            "key.pem": self.key.encode(),
            "p.tlog-proof": self.proof.encode(),
            "kept.txt": self.checkpoint.encode(),
            "receipt.json": self.receipt.encode(),
        }
        for name, content in files.items():
            (folder / name).write_bytes(content)


def receipt_of(world: World, request_id: str, place: int = 0) -> Receipt:
    """Return a request's receipt from the ledger. Raises NotFound."""
    with world.ledger.database.read() as tx:
        request = requests.get(tx, world.tenant_id, request_id)
        return receipts.get(tx, world.ledger.ring, request, place)


def in_the_first_form(statement: Statement) -> None:
    """Take out of a statement what certificates did not hold at first."""
    statement["predicateType"] = certificates.PREDICATE_TYPE.replace("/v2", "/v1")
    for name in ("commitments", "code", "retained", "revocation"):
        del statement["predicate"][name]
    for name in ("extended_at", "published_at"):
        del statement["predicate"]["request"][name]
    for model in statement["predicate"]["models"]:
        del model["digests"]
