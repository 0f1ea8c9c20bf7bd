"""Signed envelopes, after the DSSE specification 1.0.2 (Dead Simple Signing Envelope), with Ed25519."""

import base64
import json

from evidence import dsse as outside
from evidence import errors as outside_errors
from evidence.dsse import IN_TOTO, pae
from ledger.errors import SignatureInvalid
from ledger.keys import KeyRing

__all__ = ["IN_TOTO", "pae", "sign_envelope", "verify_envelope"]


def sign_envelope(payload: bytes, payload_type: str, ring: KeyRing) -> bytes:
    """The envelope as JSON in UTF-8, with one signature by the ring's key."""
    signature = {"keyid": ring.key_id(), "sig": _encode(ring.sign(pae(payload_type, payload)))}
    envelope = {"payload": _encode(payload), "payloadType": payload_type, "signatures": [signature]}
    return json.dumps(envelope, ensure_ascii=False, separators=(",", ":")).encode()


def verify_envelope(envelope: bytes, public_key_pem: str, *, payload_type: str | None = None) -> bytes:
    """The payload, checked as every outsider can check it (`evidence.dsse`). Raises SignatureInvalid."""
    try:
        return outside.verify_envelope(envelope, public_key_pem, payload_type=payload_type)
    except outside_errors.SignatureInvalid as problem:
        raise SignatureInvalid(problem.why) from problem


def _encode(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
