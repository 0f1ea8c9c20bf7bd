"""Checkpoints of a log (C2SP tlog-checkpoint): its name, size and root, as a signed note."""

import base64
from collections.abc import Callable
from dataclasses import dataclass

from evidence.errors import Malformed
from evidence.merkle import HASH_SIZE
from evidence.signed_note import NoteKey, decode, open_note, sign_note


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The log `origin` had `size` entries with this `root` (32 bytes)."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """Return the three lines that are signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    def signed(self, key: NoteKey, sign: Callable[[bytes], bytes]) -> str:
        """Return the signed note."""
        return sign_note(self.text(), key, sign)


def open_checkpoint(note: str, key: NoteKey) -> Checkpoint:
    """Return a checkpoint that this key signed for the log of its own name.

    Raises Malformed; NoteUnsigned; Malformed also when the note speaks of a log of another name.
    """
    lines = open_note(note, key).split("\n")[:-1]
    if len(lines) < 3:
        raise Malformed("checkpoint", "it has fewer than three lines")
    origin, size, root = lines[:3]
    if origin != key.name:
        raise Malformed("checkpoint of this log", f"it speaks of the log {origin!r}, not of {key.name!r}")
    if not size.isascii() or not size.isdigit() or (len(size) > 1 and size[0] == "0") or len(size) > 18:
        raise Malformed("checkpoint", "its size is not a plain number")
    found = decode(root, "checkpoint")
    if len(found) != HASH_SIZE:
        raise Malformed("checkpoint", f"its root has {len(found)} bytes, not {HASH_SIZE}")
    return Checkpoint(origin, int(size), found)
