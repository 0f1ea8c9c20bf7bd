"""Committing to what a request names, so that each name can be opened by its own salt and by nothing else.

Every name gets a leaf, HMAC-SHA256(salt, name), under a salt of its own. What is published is the root of the Merkle
tree over the leaves, which are filled up to a power of two. Whoever has one salt and the path from its leaf to the root
opens that leaf, and learns nothing about the others, not even how many there are.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass

from evidence.merkle import Subtree, inclusion_path, node_hash, root
from evidence.spelling import folded, trimmed

SALT_SIZE = 32  # bytes, of the seed and of every salt
EMAIL, RAW = "email", "raw"

What = Sequence[str]
"""What a name is: ("subject", its type, its format), or one word: record, label, everything."""


def leaf(salt: bytes, what: What, name: str) -> bytes:
    """Return HMAC-SHA256 under `salt` of the name in its one spelling and of what it is, each behind its length."""
    message = bytearray(b"lacuna/named/1\0")
    for part in (*what, spelled(what, name)):
        encoded = part.encode("utf-8", "surrogatepass")
        message += len(encoded).to_bytes(4, "big") + encoded
    return hmac.digest(salt, message, "sha256")


def spelled(what: What, name: str) -> str:
    """Return the spelling that is hashed: trimmed and NFC; an e-mail address also case-folded, a hash in small."""
    text = trimmed(name)
    if len(what) < 3:
        return text
    if what[2] != RAW:
        return text.lower()
    return folded(text) if what[1] == EMAIL else text


@dataclass(frozen=True, slots=True)
class Commitment:
    """The leaves of everything that a request names, and the seed that their salts are derived from."""

    seed: bytes
    leaves: tuple[bytes, ...]

    @classmethod
    def to(cls, seed: bytes, names: Sequence[tuple[What, str]]) -> Commitment:
        """Commit to these names, of which there is at least one. `seed`: 32 random bytes."""
        return cls(seed, tuple(leaf(salt(seed, place), what, name) for place, (what, name) in enumerate(names)))

    @property
    def size(self) -> int:
        """How many leaves the tree has: a power of two."""
        return 1 << (len(self.leaves) - 1).bit_length()

    def root(self) -> bytes:
        """Return what is published, 32 bytes."""
        return root(self.size, self._subtrees())

    def path(self, place: int) -> list[bytes]:
        """Return the hashes that lead from the leaf at `place` to the root. Raises ProofInvalid: no such leaf."""
        return inclusion_path(place, self.size, self._subtrees())

    def _subtrees(self) -> Subtree:
        levels = [[*self.leaves, *(_filling(self.seed, place) for place in range(len(self.leaves), self.size))]]
        while len(levels[-1]) > 1:
            below = levels[-1]
            levels.append([node_hash(below[i], below[i + 1]) for i in range(0, len(below), 2)])
        return lambda level, index: levels[level][index]


def salt(seed: bytes, place: int) -> bytes:
    """Return the salt of the leaf at `place`."""
    return hmac.digest(seed, b"lacuna/salt/1\0" + place.to_bytes(8, "big"), "sha256")


def _filling(seed: bytes, place: int) -> bytes:
    return hmac.digest(seed, b"lacuna/filling/1\0" + place.to_bytes(8, "big"), "sha256")
