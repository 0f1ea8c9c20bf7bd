"""Checking signed envelopes after the DSSE specification 1.0.2 (Dead Simple Signing Envelope), with Ed25519.

What is signed is exactly the stored bytes and their type, so no canonical form of JSON is needed.
"""

import base64
import binascii
import json
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from evidence.errors import SignatureInvalid

IN_TOTO = "application/vnd.in-toto+json"


def pae(payload_type: str, payload: bytes) -> bytes:
    """The pre-authentication encoding, the bytes that are signed: lengths in decimal, single spaces between."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def verify_envelope(envelope: bytes, public_key_pem: str, *, payload_type: str | None = None) -> bytes:
    """The payload, if at least one signature is by this Ed25519 key and, where given, the type is the expected one.

    `keyid` is not signed and is ignored, as the specification asks. Raises SignatureInvalid on anything else.
    """
    key = public_key(public_key_pem)
    fields = _parse(envelope)
    kind = _text(fields, "payloadType")
    if payload_type is not None and kind != payload_type:
        raise SignatureInvalid(f"the payload is not of type {payload_type}")
    payload = _decode(_text(fields, "payload"))
    signatures = fields.get("signatures")
    if not isinstance(signatures, list) or not signatures:
        raise SignatureInvalid("the envelope has no list of signatures")
    message = pae(kind, payload)
    for signature in signatures:
        if not isinstance(signature, dict):
            raise SignatureInvalid("a signature is no JSON object")
        if _signed_by(key, _decode(_text(signature, "sig")), message):
            return payload
    raise SignatureInvalid("no signature was made by the given key over this content")


def _signed_by(key: Ed25519PublicKey, signature: bytes, message: bytes) -> bool:
    try:
        key.verify(signature, message)
    except InvalidSignature:
        return False
    return True


def public_key(pem: str) -> Ed25519PublicKey:
    """Read an Ed25519 public key from PEM. Raises SignatureInvalid."""
    try:
        key = serialization.load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm) as problem:
        raise SignatureInvalid("the public key is no readable PEM") from problem
    if not isinstance(key, Ed25519PublicKey):
        raise SignatureInvalid("the public key is not Ed25519")
    return key


def _parse(envelope: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(envelope.decode(), object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as problem:
        raise SignatureInvalid("the envelope is no JSON") from problem
    if not isinstance(fields, dict):
        raise SignatureInvalid("the envelope is no JSON object")
    return fields


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Parsers disagree on which of two equal keys counts, so an envelope that has them is refused."""
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise SignatureInvalid("the envelope has a key twice")
    return fields


def _text(fields: dict[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        raise SignatureInvalid(f"{name} is missing or no text")
    try:
        value.encode()
    except UnicodeEncodeError as problem:
        raise SignatureInvalid(f"{name} is no valid Unicode") from problem
    return value


def _decode(text: str) -> bytes:
    """Standard or URL-safe base64; the specification allows both."""
    try:
        return base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError) as problem:
        raise SignatureInvalid("a field is no base64") from problem
