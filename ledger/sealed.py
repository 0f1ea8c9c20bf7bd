"""Sealed objects: weights, statistics and other artifacts, encrypted as one piece.

    magic (8) | wrapped data key (60) | ciphertext and tag (AES-256-GCM)

Every object has a data key of its own. It closes exactly one message, so its nonce may be constant.
Deleting the object deletes the only copy of that key.
"""

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ledger.errors import KeyUnavailable, ObjectCorrupt, ObjectRefused
from ledger.keys import KEY_SIZE, NONCE_SIZE, TAG_SIZE, WRAPPED_SIZE, KeyRing, RandomBytes

MAGIC = b"LacSeal\x01"  # the last byte is the version of the format
HEADER_SIZE = len(MAGIC) + WRAPPED_SIZE
LARGEST = 2**31 - 1 - TAG_SIZE  # bytes; the library encrypts no more in one piece
_NONCE = bytes(NONCE_SIZE)


def seal(plaintext: bytes, *, ring: KeyRing, context: bytes, random: RandomBytes) -> bytes:
    """Encrypt one object for one owner, who is named by `context`. Raises ObjectRefused above 2 GiB."""
    if len(plaintext) > LARGEST:
        raise ObjectRefused(f"{len(plaintext)} bytes are more than {LARGEST}")
    key = random(KEY_SIZE)
    header = MAGIC + ring.wrap(key, MAGIC + context)
    return b"".join((header, AESGCM(key).encrypt(_NONCE, plaintext, header + context)))


def unseal(sealed: bytes, *, ring: KeyRing, context: bytes, name: str = "without a name") -> bytes:
    """Decrypt what `seal` made with the same context. `name` is only for the message.

    Raises ObjectCorrupt: one bit changed, cut short, another owner's, or sealed under another master key.
    """
    if sealed[: len(MAGIC)] != MAGIC or len(sealed) < HEADER_SIZE + TAG_SIZE:
        raise ObjectCorrupt(name, "it is no sealed object, or cut short")
    header = sealed[:HEADER_SIZE]
    try:
        key = ring.unwrap(header[len(MAGIC) :], MAGIC + context)
    except KeyUnavailable as problem:
        raise ObjectCorrupt(name, problem.why) from problem
    if len(key) != KEY_SIZE:
        raise ObjectCorrupt(name, f"its data key has {len(key)} bytes")
    try:
        # A view: slicing would copy the whole object.
        return AESGCM(key).decrypt(_NONCE, memoryview(sealed)[HEADER_SIZE:], header + context)
    except (InvalidTag, OverflowError) as problem:
        raise ObjectCorrupt(name, "its content was changed") from problem
