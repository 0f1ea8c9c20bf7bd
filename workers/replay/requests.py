"""Past requests: drawn from the log, and each one checked against everything that its certificate says."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select

from evidence.certificate import examine
from evidence.errors import EvidenceError
from ledger import certified_bounds, leases
from ledger.database import Transaction
from ledger.errors import NotFound
from ledger.log import proofs
from ledger.tables import Certificate, Event, ForgetRequest, Leaf, Model, ModelVersion, Record
from workers.replay.chain import Published, differs

COMPLETED = "forget.completed"


@dataclass(frozen=True, slots=True)
class Trust:
    """What an auditor brings: keys (PEM or a list), newer keys, revocations, and the checkpoint that she kept."""

    keys: str
    key_list: str | None
    revocations: str | None
    checkpoint: str
    size: int


def certified(tx: Transaction, tenant_id: str, size: int) -> tuple[list[str], int]:
    """Return the requests that stand in the log as certified below `size`, and how many stand later.

    Taken from the log, not from rows of requests: deleting a request's row does not take it out of the drawing.
    """
    query = (
        select(Event.subject, Event.body, Leaf.position)
        .outerjoin(Leaf, Leaf.event_id == Event.id)
        .where(Event.tenant_id == tenant_id, Event.kind == COMPLETED)
    )
    found, later = [], 0
    for subject, body, position in tx.session.execute(query):
        if "certificate" not in json.loads(body):
            continue  # it concerned nothing that was stored
        if position is None or position >= size:
            later += 1
        else:
            found.append(subject)
    return found, later


def without_event(tx: Transaction, tenant_id: str) -> list[str]:
    """Say which certificates were issued without standing in the log's events."""
    issued = set(tx.session.execute(select(Certificate.request_id).where(Certificate.tenant_id == tenant_id)).scalars())
    query = select(Event.subject).where(Event.tenant_id == tenant_id, Event.kind == COMPLETED)
    said = set(tx.session.execute(query).scalars())
    return [f"request {request_id} has a certificate and no event" for request_id in sorted(issued - said)]


def with_rows_left(tx: Transaction, request_ids: Sequence[str]) -> set[str]:
    """Return those of these requests of which records still have rows."""
    query = select(Record.request_id).where(Record.request_id.in_(request_ids)).distinct()
    return {found for found in tx.session.execute(query).scalars() if found is not None}


def problems(
    tx: Transaction, tenant_id: str, request_id: str, trust: Trust, events: Published, *, clock_skew_us: int
) -> list[str]:
    """Say what is wrong with a certified request: its certificate, its versions, servers that may use older ones."""
    row = tx.session.get(Certificate, request_id)
    if row is None:
        return ["its certificate is gone"]
    request = tx.session.get(ForgetRequest, request_id)
    found = [] if request is not None and request.state == "completed" else ["it is not completed by its row"]
    try:
        examined = examine(
            row.envelope,
            trust.keys,
            proof=_proof(tx, tenant_id, request_id, trust.size),
            since=trust.checkpoint,
            key_list=trust.key_list,
            revocations=trust.revocations,
            now=datetime.fromtimestamp(tx.now / 1e6, UTC),
        )
    except EvidenceError as problem:
        return [*found, str(problem)]
    for stated in examined.statement["predicate"]["models"]:
        found += _version_problems(tx, stated, events, clock_skew_us=clock_skew_us)
    return found


def _proof(tx: Transaction, tenant_id: str, request_id: str, size: int) -> str:
    """Return the proof that leads to the auditor's own checkpoint, or to the newest where that one has no row."""
    try:
        return proofs.of_event(tx, tenant_id, COMPLETED, request_id, size=size).text()
    except NotFound:
        return proofs.of_event(tx, tenant_id, COMPLETED, request_id).text()


def _version_problems(
    tx: Transaction, stated: Mapping[str, Any], events: Published, *, clock_skew_us: int
) -> list[str]:
    """Compare what a certificate says of a version with the version's row, its event and its model's constants."""
    name = f"version {stated['version']} of model {stated['model']}"
    query = select(ModelVersion).where(
        ModelVersion.model_id == stated["model"], ModelVersion.number == stated["version"]
    )
    version = tx.session.execute(query).scalar_one_or_none()
    if version is None:
        return [f"{name} is not in the chain"]
    found = []
    if apart := differs(version, events.get(version.id)):
        found.append(f"{name} is not the one that was published: {', '.join(apart)} differ")
    expected: dict[str, Any] = {
        "weights_commitment": version.weights_commitment,
        "statistics_commitment": version.statistics_commitment,
        "anchor_version": version.anchor_number,
        "checks": version.checks,
        **certified_bounds.facts(tx.session.get_one(Model, version.model_id), version),
    }
    wrong = [key for key, value in expected.items() if stated.get(key) != value]
    if wrong:
        found.append(f"{name} is not what the certificate says: {', '.join(wrong)} differ")
    if leases.stragglers(tx, version.model_id, version.number, clock_skew_us=clock_skew_us):
        found.append(f"a server may still answer from a version before {name}")
    return found
