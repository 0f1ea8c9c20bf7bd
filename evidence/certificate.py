"""Checking a certificate away from the service: its signature, its place in the log, and whether it fits together.

What a signature proves is who said something, not that it is true. So the result names both: what is proven, and what
rests on the word of whoever holds the key.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from evidence.checkpoint import open_checkpoint
from evidence.dsse import IN_TOTO, public_key, verify_envelope
from evidence.errors import Contradiction, Malformed, ProofInvalid, SignatureInvalid
from evidence.merkle import leaf_hash
from evidence.signed_note import NoteKey
from evidence.tlog_proof import check_tlog_proof, read_tlog_proof

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
ERASURE = "https://lacuna.dev/erasure-certificate/v1"
FACTS = ("removed", "solved", "gone", "unserved")


@dataclass(frozen=True, slots=True)
class Examined:
    """What a certificate is worth: proven here, resting on the issuer's word, and never covered."""

    statement: dict[str, Any]
    proven: list[str]
    said: list[str]
    not_covered: list[str]


def examine(
    envelope: bytes, public_key_pem: str, *, proof: str | None = None, since: str | None = None, now: datetime
) -> Examined:
    """Check an erasure certificate. `proof`: its `.tlog-proof`; `since`: a checkpoint kept from earlier.

    Raises SignatureInvalid, Malformed, Contradiction, NoteUnsigned, ProofInvalid.
    """
    payload = verify_envelope(envelope, public_key_pem, payload_type=IN_TOTO)
    _require_form(envelope, payload, public_key_pem)
    statement = _statement(payload)
    proven = ["The certificate was signed with the given key, and not one byte of it has changed."]
    for contradiction in _contradictions(statement, now):
        raise Contradiction(contradiction)
    proven.append("It fits together: subjects, versions, bounds, times and outcome agree.")
    said = [_word(name, statement["predicate"]["facts"][name]) for name in FACTS]
    if proof is None:
        said.append("That it stands in the public log: no proof was given.")
    else:
        proven.append(_in_log(envelope, statement, public_key_pem, proof, since))
    return Examined(statement, proven, said, list(statement["predicate"]["not_covered"]))


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
    if statement.get("predicateType") != ERASURE:
        raise Malformed("certificate of an erasure", f"it is one of {statement.get('predicateType')!r}")
    return statement


def _contradictions(statement: dict[str, Any], now: datetime) -> Iterator[str]:
    try:
        predicate, request = statement["predicate"], statement["predicate"]["request"]
        models = predicate["models"]
        digests = [subject["digest"]["hmac-sha256"] for subject in statement["subject"]]
        if digests != [model["weights_commitment"] for model in models]:
            yield "its subjects are not the versions that it describes"
        for model, subject in zip(models, statement["subject"], strict=True):
            if not subject["name"].endswith(f"@{model['version']}"):
                yield f"the subject {subject['name']} is not version {model['version']}"
            if not 1 <= model["anchor_version"] <= model["version"]:
                yield f"version {model['version']} cannot rest on version {model['anchor_version']}"
        for name in FACTS:
            if predicate["facts"][name]["holds"] is not True:
                yield f"the fact {name!r} does not hold"
        for bound in ("output_bound", "state_bound"):
            total = sum((Decimal(model.get(bound, "0")) for model in models), Decimal(0))
            if Decimal(predicate["bounds"][bound]["value"]) != total or total < 0:
                yield f"{bound} is not the sum over the models"
        received, completed = _time(request["received_at"]), _time(request["completed_at"])
        erased, backups = _time(predicate["erased_live_at"]), _time(predicate["unrecoverable_from_backups_after"])
        if not received <= erased <= completed or backups < erased:
            yield "its times are not in order"
        if completed > now:
            yield f"it was completed in the future, at {request['completed_at']}; one of the two clocks is wrong"
    except (KeyError, TypeError, AttributeError, ValueError, InvalidOperation) as problem:
        yield f"something is missing or of another kind ({type(problem).__name__}: {problem})"


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _word(name: str, fact: dict[str, Any]) -> str:
    return f"{name}: {fact['evidence']}"


def _in_log(envelope: bytes, statement: dict[str, Any], public_key_pem: str, proof: str, since: str | None) -> str:
    """Return what the proof proves; it carries the log's entry, which names the certificate's SHA-256."""
    raw = public_key(public_key_pem).public_bytes_raw()
    parsed = read_tlog_proof(proof)
    origin = parsed.checkpoint.split("\n", 1)[0]
    key = NoteKey(origin, raw)
    checkpoint = check_tlog_proof(proof, leaf_hash(parsed.extra), key)
    try:
        entry = json.loads(parsed.extra)
        named = entry["kind"], entry["subject"], entry["certificate"]
    except (ValueError, KeyError, TypeError):
        raise Contradiction("the log's entry is none of a completed request") from None
    expected = "forget.completed", statement["predicate"]["request"]["id"], hashlib.sha256(envelope).hexdigest()
    if named != expected:
        raise Contradiction("the log's entry names another certificate")
    if since is not None:
        kept = open_checkpoint(since, key)
        if kept.size == checkpoint.size and kept.root != checkpoint.root:
            raise ProofInvalid("inclusion", "your checkpoint has the same size and another root: there are two logs")
        if kept.size > checkpoint.size:
            raise ProofInvalid(
                "inclusion",
                f"its log has {checkpoint.size} entries, yours had {kept.size}: it was turned back, or is old",
            )
    return f"It is entry {parsed.index} of the log {origin!r}, which had {checkpoint.size} entries and is signed."
