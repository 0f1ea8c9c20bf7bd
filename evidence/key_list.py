"""Several keys of one service: which one signed, and whether a kept key leads to a newer one.

A file of keys is either PEM, one public key after another, or the list that `GET /v1/signing-keys` gives. Whoever
hands it over as the keys to check with trusts all of it. A list that is not trusted is used differently: it counts as
far as hand-overs lead from a trusted key, each an envelope that the key before and the new key have both signed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from evidence.dsse import public_key, verify_envelope
from evidence.errors import Malformed, NoteUnsigned, SignatureInvalid
from evidence.signed_note import NoteKey, signed_by

HANDOVER = "application/vnd.lacuna.key-handover+json"
_END = "-----END PUBLIC KEY-----"
MOST_KEYS = 1000


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A public key: its id (16 hex digits), its PEM and its 32 bytes."""

    key_id: str
    pem: str
    raw: bytes


def read_key(pem: str) -> VerificationKey:
    """Read one public key. Raises SignatureInvalid: no Ed25519 key in PEM."""
    key = public_key(pem)
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return VerificationKey(hashlib.sha256(der).hexdigest()[:16], pem, key.public_bytes_raw())


def read_keys(text: str) -> list[VerificationKey]:
    """Read a file of keys, PEM or a key list. Raises SignatureInvalid, Malformed."""
    if is_list(text):
        return [key for key, _ in _listed(text)]
    parts = text.split(_END)
    if len(parts) - 1 > MOST_KEYS:
        raise Malformed("file of keys", f"it holds more than {MOST_KEYS}")
    found = [read_key(part.lstrip() + _END + "\n") for part in parts[:-1]]
    return found or [read_key(text)]


def follow(trusted: Sequence[VerificationKey], listed: str, *, revoked: Collection[str]) -> list[VerificationKey]:
    """Return the trusted keys and those of a list that hand-overs lead to from them; a revoked key leads nowhere.

    Raises SignatureInvalid, Malformed: the list cannot be read. An entry whose hand-over does not hold is left out.
    """
    found = {key.key_id: key for key in trusted}
    waiting = _listed(listed)
    grown = True
    while grown:
        grown = False
        for key, entry in waiting:
            if key.key_id not in found and _handed_over(
                entry, key, [k for k in found.values() if k.key_id not in revoked]
            ):
                found[key.key_id] = key
                grown = True
    return list(found.values())


def signer_of(envelope: bytes, keys: Sequence[VerificationKey], *, payload_type: str) -> VerificationKey:
    """Return the key that signed an envelope. Raises SignatureInvalid: none of them, or it is malformed."""
    for key in keys[:-1]:
        try:
            verify_envelope(envelope, key.pem, payload_type=payload_type)
        except SignatureInvalid:
            continue
        return key
    verify_envelope(envelope, keys[-1].pem, payload_type=payload_type)
    return keys[-1]


def note_signer(
    note: str, origin: str, keys: Sequence[VerificationKey], *, revoked: Collection[str]
) -> VerificationKey:
    """Return the key that a checkpoint's signature line names, one that is not revoked if there is one.

    Raises NoteUnsigned: no line names any of the keys; Malformed.
    """
    named = [key for key in keys if signed_by(note, NoteKey(origin, key.raw))]
    if not named:
        raise NoteUnsigned(
            origin, "no signature line names this key" if len(keys) == 1 else "no line names a given key"
        )
    return next((key for key in named if key.key_id not in revoked), named[0])


def is_list(text: str) -> bool:
    """Whether a text looks like JSON; keys in PEM do not."""
    return text.lstrip().startswith(("{", "["))


def items(text: str, what: str) -> list[dict[str, Any]]:
    """Return the entries of a list as the service gives it. Raises Malformed."""
    try:
        document = json.loads(text)
        found = document["items"] if isinstance(document, dict) else document
    except (ValueError, KeyError, RecursionError):
        raise Malformed(what, "it is not JSON with items") from None
    if not isinstance(found, list) or len(found) > MOST_KEYS or not all(isinstance(item, dict) for item in found):
        raise Malformed(what, "its items are not a list of objects")
    return found


def _listed(text: str) -> list[tuple[VerificationKey, dict[str, Any]]]:
    found = []
    for item in items(text, "list of keys"):
        pem = item.get("public_key_pem")
        if not isinstance(pem, str):
            raise Malformed("list of keys", "an item has no public_key_pem")
        key = read_key(pem)
        if item.get("key_id") != key.key_id:
            raise Malformed("list of keys", f"the key that it calls {item.get('key_id')!r} has another id")
        found.append((key, item))
    if not found:
        raise Malformed("list of keys", "it is empty")
    return found


def _handed_over(entry: dict[str, Any], new: VerificationKey, trusted: Sequence[VerificationKey]) -> bool:
    """Whether one of the trusted keys has announced this one, and this one has signed that too."""
    envelope = entry.get("handover")
    if not isinstance(envelope, dict):
        return False
    content = json.dumps(envelope).encode()
    try:
        said = json.loads(verify_envelope(content, new.pem, payload_type=HANDOVER))
        old = next((key for key in trusted if isinstance(said, dict) and said.get("old") == key.key_id), None)
        if old is None or said.get("new") != new.key_id or said.get("new_key") != new.raw.hex():
            return False
        verify_envelope(content, old.pem, payload_type=HANDOVER)
    except (SignatureInvalid, ValueError):
        return False
    return True
