"""A model's sealed objects: its public part, and each version's weights and statistics.

Weights and statistics are secret: a plain hash of them would confirm a guess. So their object begins with a random
salt, and what becomes public is HMAC-SHA256(salt, body). The salt dies with the object.

    public model            sealed under `public_context`:      body
    weights, statistics     sealed under their own context:     salt (32 bytes) | body
"""

from __future__ import annotations

import hashlib
import hmac

from ledger import inventory
from ledger.database import Random
from ledger.errors import ObjectCorrupt
from ledger.keys import KeyRing
from ledger.ledger import Ledger
from ledger.sealed import seal, unseal

SALT_SIZE = 32  # bytes


def public_context(model_id: str) -> bytes:
    """Return what the encryption of a public model is bound to."""
    return b"public:" + model_id.encode()


def weights_context(model_id: str) -> bytes:
    """Return what the encryption of a model's weights is bound to."""
    return b"weights:" + model_id.encode()


def statistics_context(model_id: str) -> bytes:
    """Return what the encryption of a model's statistics is bound to."""
    return b"statistics:" + model_id.encode()


def evaluation_context(model_id: str) -> bytes:
    """Return what the encryption of a model's evaluation rows is bound to."""
    return b"evaluation:" + model_id.encode()


def commitment(salt: bytes, body: bytes) -> str:
    """Return HMAC-SHA256(salt, body) in hex: it fixes the body and, without the salt, says nothing about it."""
    return hmac.digest(salt, body, "sha256").hex()


def seal_artifact(body: bytes, *, salt: bytes, ring: KeyRing, context: bytes, random: Random) -> bytes:
    """Encrypt salt and body as one object. Raises ValueError: another size of salt; ObjectRefused: above 2 GiB."""
    if len(salt) != SALT_SIZE:
        raise ValueError(f"a salt has {SALT_SIZE} bytes, not {len(salt)}")
    return seal(salt + body, ring=ring, context=context, random=random)


def open_artifact(ledger: Ledger, name: str, context: bytes, *, committed: str | None = None) -> tuple[bytes, bytes]:
    """Return salt and body of an object; with `committed`, check that the body is the one that was committed to.

    Raises ObjectMissing, ObjectCorrupt, StoreFailed.
    """
    sealed = inventory.read(ledger.database, ledger.objects, name)
    content = unseal(sealed, ring=ledger.ring, context=context, name=name)
    if len(content) < SALT_SIZE:
        raise ObjectCorrupt(name, "it is shorter than its salt")
    salt, body = content[:SALT_SIZE], content[SALT_SIZE:]
    if committed is not None and not hmac.compare_digest(commitment(salt, body), committed):
        raise ObjectCorrupt(name, "it is not the content that was committed to")
    return salt, body


def open_public(ledger: Ledger, name: str, model_id: str) -> bytes:
    """Return the bytes of a public model. Raises ObjectMissing, ObjectCorrupt, StoreFailed."""
    sealed = inventory.read(ledger.database, ledger.objects, name)
    return unseal(sealed, ring=ledger.ring, context=public_context(model_id), name=name)


def challenge_digest(challenge: bytes, body: bytes) -> str:
    """Return HMAC-SHA256(challenge, body) in hex: lets two services compare bytes that neither publishes."""
    return hmac.new(challenge, body, hashlib.sha256).hexdigest()
