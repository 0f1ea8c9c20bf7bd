"""Proofs that something stands in a log, for use offline (C2SP tlog-proof, version 1): index, path, checkpoint."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from evidence.checkpoint import Checkpoint, open_checkpoint
from evidence.errors import Malformed
from evidence.merkle import HASH_SIZE, check_inclusion
from evidence.signed_note import NoteKey, decode

HEADER = "c2sp.org/tlog-proof@v1"


@dataclass(frozen=True, slots=True)
class TlogProof:
    """The entry at `index`, the hashes that lead from it to the root, and the signed checkpoint with that root.

    extra: Lacuna puts the entry itself there, so that the file can be checked without asking for anything else.
    """

    index: int
    path: Sequence[bytes]
    checkpoint: str
    extra: bytes = b""

    def text(self) -> str:
        """Return the file, by custom named `*.tlog-proof`."""
        extra = [f"extra {base64.b64encode(self.extra).decode()}"] if self.extra else []
        lines = [HEADER, *extra, f"index {self.index}", *(base64.b64encode(step).decode() for step in self.path)]
        return "\n".join(lines) + "\n\n" + self.checkpoint


def read_tlog_proof(text: str) -> TlogProof:
    """Read `TlogProof.text` back. Nothing vouches for the extra data until they are checked. Raises Malformed."""
    head, blank, checkpoint = text.partition("\n\n")
    lines = head.split("\n")
    if not blank or lines[0] != HEADER:
        raise Malformed("proof of a log", f"it does not begin with {HEADER}, or holds no checkpoint")
    rest, extra = lines[1:], b""
    if rest and rest[0].startswith("extra "):
        extra = decode(rest.pop(0).removeprefix("extra "), "proof of a log")
    word, _, number = (rest[0] if rest else "").partition(" ")
    if word != "index" or not number.isascii() or not number.isdigit() or len(number) > 18:
        raise Malformed("proof of a log", "it names no index")
    if len(number) > 1 and number[0] == "0":
        raise Malformed("proof of a log", "its index is not a plain number")
    path = [decode(line, "proof of a log") for line in rest[1:]]
    if any(len(step) != HASH_SIZE for step in path) or len(path) > 63:
        raise Malformed("proof of a log", "its path is not one of hashes")
    return TlogProof(int(number), path, checkpoint, extra)


def check_tlog_proof(text: str, leaf: bytes, key: NoteKey) -> Checkpoint:
    """Return the checkpoint under which the entry with this leaf hash stands.

    Raises Malformed, NoteUnsigned, ProofInvalid.
    """
    proof = read_tlog_proof(text)
    checkpoint = open_checkpoint(proof.checkpoint, key)
    check_inclusion(leaf, proof.index, checkpoint.size, proof.path, checkpoint.root)
    return checkpoint
