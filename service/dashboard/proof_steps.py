"""A proof of the log, walked step by step from the entry to the signed root, so that it can be shown and followed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from evidence.checkpoint import Checkpoint, open_checkpoint
from evidence.errors import EvidenceError
from evidence.key_list import VerificationKey, note_signer
from evidence.merkle import leaf_hash, node_hash
from evidence.signed_note import NoteKey
from evidence.tlog_proof import TlogProof, check_tlog_proof


@dataclass(frozen=True, slots=True)
class Step:
    """One hash on the way up: of which two it is made. side: where the neighbour stands, left or right."""

    side: str
    neighbour: str
    made: str


@dataclass(frozen=True, slots=True)
class Walk:
    """A proof and what came of it. leaf: hash of the entry's bytes; stored: the leaf in the log's row.

    problem: None if everything fits, else what does not. root: the signed one, None if the checkpoint cannot be read.
    """

    entry: str
    leaf: str
    stored: str
    steps: Sequence[Step]
    root: str | None
    size: int | None
    signer: str | None
    problem: str | None

    @property
    def leaf_fits(self) -> bool:
        """Whether the event has the hash that stands in the log."""
        return self.leaf == self.stored

    @property
    def top(self) -> str:
        """Where the walk ends: what should be the root."""
        return self.steps[-1].made if self.steps else self.leaf


def walk(proof: TlogProof, stored_leaf: bytes, keys: Sequence[VerificationKey], revoked: Sequence[str]) -> Walk:
    """Walk a proof whose `extra` is the entry itself, and check it as an outsider would."""
    leaf = leaf_hash(proof.extra)
    checkpoint, signer, problem = _check(proof, leaf, keys, revoked)
    return Walk(
        entry=proof.extra.decode(errors="replace"),
        leaf=leaf.hex(),
        stored=stored_leaf.hex(),
        steps=[] if checkpoint is None else _climb(leaf, proof.index, checkpoint.size, proof.path),
        root=None if checkpoint is None else checkpoint.root.hex(),
        size=None if checkpoint is None else checkpoint.size,
        signer=signer,
        problem=problem,
    )


def _check(
    proof: TlogProof, leaf: bytes, keys: Sequence[VerificationKey], revoked: Sequence[str]
) -> tuple[Checkpoint | None, str | None, str | None]:
    """Return the checkpoint and its signer if they can be read, and what is wrong."""
    origin = proof.checkpoint.split("\n", 1)[0]
    try:
        signer = note_signer(proof.checkpoint, origin, keys, revoked=revoked)
        checkpoint = open_checkpoint(proof.checkpoint, NoteKey(origin, signer.raw))
    except EvidenceError as problem:
        return None, None, str(problem)
    try:
        check_tlog_proof(proof.text(), leaf, NoteKey(origin, signer.raw))
    except EvidenceError as problem:
        return checkpoint, signer.key_id, str(problem)
    return checkpoint, signer.key_id, None


def _climb(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> list[Step]:
    """Return the hashes on the way up, as RFC 9162 (2.1.3.2) computes them."""
    position, last, found, steps = index, size - 1, leaf, []
    for neighbour in path:
        left = bool(position & 1) or position == last
        found = node_hash(neighbour, found) if left else node_hash(found, neighbour)
        steps.append(Step("left" if left else "right", neighbour.hex(), found.hex()))
        if left:
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        position, last = position >> 1, last >> 1
    return steps
