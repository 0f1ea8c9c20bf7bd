"""Signed envelopes, after the DSSE specification 1.0.2 (Dead Simple Signing Envelope), with Ed25519."""

import base64
import json
from collections.abc import Sequence
from typing import Protocol

from evidence import dsse as outside
from evidence import errors as outside_errors
from evidence.dsse import IN_TOTO, pae
from ledger.errors import SignatureInvalid

__all__ = ["IN_TOTO", "SigningKey", "envelope_signed_by", "pae", "sign_envelope", "verify_envelope"]


class SigningKey(Protocol):
    """What signs: a key of the installation, or its ring, which stands for the first of them."""

    def key_id(self) -> str:
        """Return the key's id."""
        ...

    def sign(self, message: bytes) -> bytes:
        """Return its signature."""
        ...


def sign_envelope(payload: bytes, payload_type: str, key: SigningKey) -> bytes:
    """The envelope as JSON in UTF-8, with one signature."""
    return envelope_signed_by(payload, payload_type, [key])


def envelope_signed_by(payload: bytes, payload_type: str, keys: Sequence[SigningKey]) -> bytes:
    """The envelope with one signature by each of these keys."""
    message = pae(payload_type, payload)
    signatures = [{"keyid": key.key_id(), "sig": _encode(key.sign(message))} for key in keys]
    envelope = {"payload": _encode(payload), "payloadType": payload_type, "signatures": signatures}
    return json.dumps(envelope, ensure_ascii=False, separators=(",", ":")).encode()


def verify_envelope(envelope: bytes, public_key_pem: str, *, payload_type: str | None = None) -> bytes:
    """The payload, checked as every outsider can check it (`evidence.dsse`). Raises SignatureInvalid."""
    try:
        return outside.verify_envelope(envelope, public_key_pem, payload_type=payload_type)
    except outside_errors.SignatureInvalid as problem:
        raise SignatureInvalid(problem.why) from problem


def _encode(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
