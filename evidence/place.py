"""A certificate's place in the log, from its proof alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evidence.checkpoint import Checkpoint, open_checkpoint
from evidence.errors import Contradiction, ProofInvalid
from evidence.key_list import VerificationKey, note_signer
from evidence.merkle import leaf_hash
from evidence.revocations import Revocation, require_trusted_checkpoint
from evidence.signed_note import NoteKey
from evidence.tlog_proof import check_tlog_proof, read_tlog_proof


@dataclass(frozen=True, slots=True)
class Place:
    """Entry `index` of the log that had the checkpoint's size and root; `kept`: it is the verifier's own checkpoint."""

    index: int
    checkpoint: Checkpoint
    kept: bool

    def sentence(self) -> str:
        """Return what is proven by it."""
        origin, size = self.checkpoint.origin, self.checkpoint.size
        return f"It is entry {self.index} of the log {origin!r}, which had {size} entries and is signed."


def place_of(
    envelope: bytes,
    request_id: str,
    keys: Sequence[VerificationKey],
    proof: str,
    since: str | None,
    revocations: Mapping[str, Revocation],
) -> Place:
    """Return the place that a proof proves; it carries the log's entry, which names the certificate's SHA-256.

    Raises Malformed, NoteUnsigned, ProofInvalid, Contradiction, KeyNotTrusted.
    """
    parsed = read_tlog_proof(proof)
    origin = parsed.checkpoint.split("\n", 1)[0]
    signer = note_signer(parsed.checkpoint, origin, keys, revoked=revocations.keys())
    checkpoint = check_tlog_proof(proof, leaf_hash(parsed.extra), NoteKey(origin, signer.raw))
    try:
        entry = json.loads(parsed.extra)
        named = entry["kind"], entry["subject"], entry["certificate"]
    except (ValueError, KeyError, TypeError):
        raise Contradiction("the log's entry is none of a completed request") from None
    if named != ("forget.completed", request_id, hashlib.sha256(envelope).hexdigest()):
        raise Contradiction("the log's entry names another certificate")
    kept = since is not None and _is_kept(since, origin, keys, checkpoint, revocations)
    require_trusted_checkpoint(revocations, signer.key_id, size=checkpoint.size, kept=kept)
    return Place(parsed.index, checkpoint, kept)


def _is_kept(
    since: str,
    origin: str,
    keys: Sequence[VerificationKey],
    checkpoint: Checkpoint,
    revocations: Mapping[str, Revocation],
) -> bool:
    """Whether the kept checkpoint is the proof's own. Raises ProofInvalid: the two cannot be of one log."""
    signer = note_signer(since, origin, keys, revoked=revocations.keys())
    kept = open_checkpoint(since, NoteKey(origin, signer.raw))
    if kept.size == checkpoint.size and kept.root != checkpoint.root:
        raise ProofInvalid("inclusion", "your checkpoint has the same size and another root: there are two logs")
    if kept.size > checkpoint.size:
        raise ProofInvalid(
            "inclusion",
            f"its log has {checkpoint.size} entries, yours had {kept.size}: it was turned back, or is old",
        )
    return kept.size == checkpoint.size
