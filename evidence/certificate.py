"""Checking a certificate away from the service: its signature, its place in the log, and whether it fits together.

What a signature proves is who said something, not that it is true. So the result names both: what is proven, and what
rests on the word of whoever holds the key.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from evidence.consistency import ERASURE, FACTS, FIRST, contradictions
from evidence.dsse import IN_TOTO, public_key, verify_envelope
from evidence.errors import Contradiction, Malformed, SignatureInvalid
from evidence.key_list import follow, read_keys, signer_of
from evidence.place import place_of
from evidence.receipt import Receipt, check_receipt, read_receipt
from evidence.revocations import gather, require_dated, require_trusted

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
OLDER = (
    "It is of the first form: it commits to no name, so no receipt opens it, and does not say which code made it, "
    "which parts the public part has, what is kept and where it could be revoked."
)


@dataclass(frozen=True, slots=True)
class Examined:
    """What a certificate is worth: proven here, resting on the issuer's word, and never covered."""

    statement: dict[str, Any]
    proven: list[str]
    said: list[str]
    not_covered: list[str]


def examine(
    envelope: bytes,
    public_key_pem: str,
    *,
    proof: str | None = None,
    since: str | None = None,
    receipt: str | None = None,
    name: str | None = None,
    key_list: str | None = None,
    revocations: str | None = None,
    now: datetime,
) -> Examined:
    """Check an erasure certificate. `proof`: its `.tlog-proof`; `since`: a checkpoint kept from earlier.

    `receipt`: a file with which what the request named is opened; `name`: the identifier that it should open to.
    `public_key_pem`: the trusted keys, PEM or a key list; `key_list`: newer keys, as far as hand-overs lead to them
    from the trusted ones; `revocations`: the list of revoked keys.
    Raises SignatureInvalid, Malformed, Contradiction, NoteUnsigned, ProofInvalid, ReceiptRefused, KeyNotTrusted.
    """
    revoked = gather(public_key_pem, key_list, revocations)
    keys = read_keys(public_key_pem)
    if key_list is not None:
        keys = follow(keys, key_list, revoked=revoked.keys())
    signer = signer_of(envelope, keys, payload_type=IN_TOTO)
    public_key_pem = signer.pem
    payload = verify_envelope(envelope, public_key_pem, payload_type=IN_TOTO)
    _require_form(envelope, payload, public_key_pem)
    statement = _statement(payload)
    proven = ["The certificate was signed with the given key, and not one byte of it has changed."]
    for contradiction in contradictions(statement, now):
        raise Contradiction(contradiction)
    proven.append("It fits together: subjects, versions, bounds, times, outcome and what it keeps agree.")
    said = [_word(name, statement["predicate"]["facts"][name]) for name in FACTS]
    completed = datetime.fromisoformat(statement["predicate"]["request"]["completed_at"])
    require_dated(revoked, signer.key_id, completed)
    place = None
    if proof is None:
        said.append("That it stands in the public log: no proof was given.")
    else:
        place = place_of(envelope, statement["predicate"]["request"]["id"], keys, proof, since, revoked)
        proven.append(place.sentence())
    index, kept = (None, False) if place is None else (place.index, place.kept)
    spared = require_trusted(revoked, signer.key_id, index=index, kept=kept)
    if spared is not None:
        proven.append(spared)
    if receipt is not None:
        proven.append(_opened(statement, read_receipt(receipt), name))
    if statement["predicateType"] == FIRST:
        said.append(OLDER)
    return Examined(statement, proven, said, list(statement["predicate"]["not_covered"]))


def _opened(statement: dict[str, Any], receipt: Receipt, name: str | None) -> str:
    """Return what a receipt proves. A certificate of the first form commits to no name."""
    check_receipt(receipt, statement["predicate"].get("commitments", {}).get("named"), name)
    if name is None:
        return "The receipt belongs to this certificate. Whose it is was not asked: no identifier was given."
    return f"The receipt opens the certificate's commitment to this {' '.join(receipt.what)}: the request named it."


def _require_form(envelope: bytes, payload: bytes, public_key_pem: str) -> None:
    """Raise SignatureInvalid unless the envelope is spelled as it was issued: the signature covers its payload only."""
    der = public_key(public_key_pem).public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    signature = base64.b64decode(json.loads(envelope)["signatures"][0]["sig"])
    issued = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": IN_TOTO,
        "signatures": [{"keyid": hashlib.sha256(der).hexdigest()[:16], "sig": base64.b64encode(signature).decode()}],
    }
    if json.dumps(issued, separators=(",", ":")).encode() != envelope:
        raise SignatureInvalid("something around the signed content was changed")


def _statement(payload: bytes) -> dict[str, Any]:
    try:
        statement = json.loads(payload)
    except ValueError:
        raise Malformed("certificate", "its content is not JSON") from None
    if not isinstance(statement, dict) or statement.get("_type") != STATEMENT_TYPE:
        raise Malformed("certificate", "its content is no in-toto statement")
    if statement.get("predicateType") not in (FIRST, ERASURE):
        raise Malformed("certificate of an erasure", f"it is one of {statement.get('predicateType')!r}")
    return statement


def _word(name: str, fact: dict[str, Any]) -> str:
    return f"{name}: {fact['evidence']}"
