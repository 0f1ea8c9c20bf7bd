"""Checking a certificate in front of the visitor, check by check, as `lacuna verify certificate` does offline.

It is the service's own word: who does not trust it checks on another machine, and the page says how.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from evidence.certificate import examine
from evidence.dsse import IN_TOTO
from evidence.errors import EvidenceError
from evidence.key_list import read_keys, signer_of
from ledger import artifacts, generations, requests, signing_keys, versions
from ledger.database import Transaction
from ledger.errors import LedgerError, NotFound
from ledger.ledger import Ledger
from ledger.log import proofs
from ledger.tables import Model
from service.dashboard import views
from service.key_lists import revocation_list
from service.serving.registry import Registry

PASS, FAIL, OPEN = "pass", "fail", "open"
SERVED = "Do answers come from the version named or one made after it, and do its stored weights open its commitment?"


@dataclass(frozen=True, slots=True)
class Check:
    """One check: what is asked, how it ended (pass, fail or open: it cannot be said), and what was found."""

    name: str
    question: str
    ended: str
    found: str


@dataclass(frozen=True, slots=True)
class Material:
    """What the checks need, read at one moment: the service's keys (PEM), those that are revoked, the place in the log.

    active: each model's active version, its number and its commitment. lines: each model's name, and its line's id.
    """

    envelope: bytes
    keys: str
    revocations: str
    proof: str | None
    active: dict[str, tuple[int, str]]
    lines: dict[str, tuple[str, str]]


def material(tx: Transaction, ledger: Ledger, tenant_id: str, request_id: str) -> Material | None:
    """Return a request's certificate with what it is checked against; None without one. Raises NotFound."""
    envelope = requests.certificate(tx, tenant_id, request_id)
    if envelope is None:
        return None
    keys = "".join(key.pem() for key in signing_keys.known(tx, ledger.ring))
    try:
        proof = proofs.of_event(tx, tenant_id, "forget.completed", request_id).text()
    except NotFound:
        proof = None  # it gets its place within moments
    covered = [model_id for model_id, _ in requests.models_of(tx, [request_id])[request_id]]
    active = {model_id: found for model_id in covered if (found := versions.active(tx, model_id)) is not None}
    return Material(
        envelope,
        keys,
        json.dumps(revocation_list(tx)),
        proof,
        {model_id: (one.number, one.weights_commitment) for model_id, one in active.items()},
        {
            model_id: (tx.session.get_one(Model, model_id).name, generations.of(tx, model_id).line_id)
            for model_id in covered
        },
    )


def checks(given: Material, ledger: Ledger, registry: Registry, now_us: int) -> list[Check]:
    """Do every check. One that fails does not hide those after it, unless they cannot be done without it."""
    now = datetime.fromtimestamp(now_us / 1e6, UTC)
    signature = _one(
        "signature",
        "Was it signed with a key of this service?",
        lambda: f"Yes, with key {signer_of(given.envelope, read_keys(given.keys), payload_type=IN_TOTO).key_id}.",
    )
    if signature.ended == FAIL:
        return [signature]
    form = _one(
        "form and consistency",
        "Is it spelled as it was issued, and do its subjects, versions, bounds and times agree?",
        lambda: examine(given.envelope, given.keys, now=now).proven[1],
    )
    question = "Does its fingerprint stand in the public log, under a checkpoint signed with a key that is not revoked?"
    if given.proof is None:
        place = Check("place in the log", question, OPEN, "It waits for its place. That takes moments.")
    else:
        place = _one("place in the log", question, lambda: _in_log(given, now))
    return [signature, form, place, *_served(given, ledger, registry)]


def _in_log(given: Material, now: datetime) -> str:
    found = examine(given.envelope, given.keys, proof=given.proof, revocations=given.revocations, now=now)
    return " ".join(found.proven[2:])


def _one(name: str, question: str, check: Callable[[], str]) -> Check:
    try:
        return Check(name, question, PASS, check())
    except EvidenceError as problem:
        return Check(name, question, FAIL, f"No: {problem}.")


def _served(given: Material, ledger: Ledger, registry: Registry) -> Iterator[Check]:
    """Compare what each model answers from now with what the certificate names."""
    certificate: dict[str, Any] = views.certificate(given.envelope) or {}
    for model in certificate["models"]:
        known, line_id = given.lines.get(model["model"], (model["model"], model["model"]))
        name = f"served now by {known}"
        certified, commitment = int(model["version"]), str(model["weights_commitment"])
        if model["model"] not in given.active:
            yield Check(name, SERVED, OPEN, "Nothing answers for this model now: it was replaced or destroyed.")
            continue
        number, active = given.active[model["model"]]
        if number < certified:
            yield Check(name, SERVED, FAIL, f"Version {number} answers, which is older than version {certified}.")
            continue
        if number == certified and active != commitment:
            yield Check(name, SERVED, FAIL, f"Version {number} answers, with another commitment to its weights.")
            continue
        here = registry.current(line_id)
        if here is not None and here.model_id == model["model"] and here.number < certified:
            yield Check(name, SERVED, FAIL, f"This process answers from version {here.number}, which is older.")
            continue
        yield _weights(ledger, name, model["model"], certified, number, active)


def _weights(ledger: Ledger, name: str, model_id: str, certified: int, number: int, commitment: str) -> Check:
    """Open the weights that are served and compare them with their commitment, as an API process does on loading."""
    with ledger.database.read() as tx:
        version = versions.active(tx, model_id)
    if version is None or version.number != number or version.weights_object is None:
        return Check(name, SERVED, OPEN, "Another version took over while this was checked. Check again.")
    try:
        artifacts.open_artifact(
            ledger, version.weights_object, artifacts.weights_context(model_id), committed=commitment
        )
    except LedgerError as problem:
        return Check(name, SERVED, FAIL, f"No: {problem}")
    named = (
        "the version named" if number == certified else f"made after version {certified}, from statistics without them"
    )
    return Check(name, SERVED, PASS, f"Version {number} answers, {named}; its stored weights open its commitment.")
