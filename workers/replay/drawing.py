"""Drawing a sample that the operator cannot choose.

The seed is the SHA-256 of a signed checkpoint's text, which holds the root over everything that had happened by then,
and of a challenge that the auditor makes up. The operator fixes what is drawn from before the auditor draws: without a
challenge he could still write harmless events until a checkpoint suits him; with one he cannot try beforehand.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence


def seed_of(checkpoint: str, challenge: str) -> bytes:
    """Return 32 bytes from a checkpoint's text, its signatures left out, and a challenge, which may be empty."""
    text = checkpoint.rpartition("\n\n")[0]
    return hashlib.sha256(f"lacuna/replay/1\n{text}\n{challenge}\n".encode()).digest()


def draw(seed: bytes, kind: str, names: Sequence[str], count: int) -> list[str]:
    """Return `count` of the names, or all if there are fewer: those whose HMAC under the seed is least.

    Each subset of that size is as likely as any other, and whoever knows the seed draws the same.
    """

    def rank(name: str) -> bytes:
        return hmac.digest(seed, f"{kind}:{name}".encode(), "sha256")

    return sorted(names, key=rank)[:count]
