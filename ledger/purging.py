"""What a published removal leaves to be destroyed, and the transactions that let go of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, select

from ledger import certificates, contents, events, inventory, jobs, requests, uploads
from ledger.database import Transaction
from ledger.errors import LineageBroken
from ledger.tables import Certificate, FeatureShard, ForgetRequest, ModelVersion, Record, RecordShard, RequestModel


@dataclass(frozen=True, slots=True)
class DoomedShard:
    """A record shard that must be rewritten without some records, and the feature shards made from it."""

    shard_id: str
    cohort_id: str
    object_name: str
    record_ids: tuple[int, ...]
    features: Mapping[str, str]  # model id -> object name


def due(tx: Transaction, tenant_id: str) -> Sequence[ForgetRequest]:
    """Return the requests whose records no model knows any more, in the order of their removal."""
    query = (
        select(ForgetRequest)
        .where(ForgetRequest.tenant_id == tenant_id, ForgetRequest.state.in_(("published", "purging")))
        .order_by(ForgetRequest.seq, ForgetRequest.received_at)
    )
    return tx.session.execute(query).scalars().all()


def begin(tx: Transaction, claim: jobs.Claim) -> list[str]:
    """Mark published requests as purging and return the ids of all that are. Raises LeaseLost."""
    jobs.check_fence(tx, claim)
    found = due(tx, claim.tenant_id)
    for request in found:
        if request.state == "published":
            contents.look_again(tx, request)
            request.state = "purging"
            events.append(tx, claim.tenant_id, "forget.purging", request.id)
    return [request.id for request in found]


def covering_versions(tx: Transaction, request_ids: Sequence[str]) -> list[ModelVersion]:
    """Return the versions in which the models of these requests no longer know the records."""
    covering = select(RequestModel.version_id).where(RequestModel.request_id.in_(request_ids))
    query = select(ModelVersion).where(ModelVersion.id.in_(covering))
    return list(tx.session.execute(query).scalars())


def shards(tx: Transaction, request_ids: Sequence[str]) -> list[DoomedShard]:
    """List the shards that still hold records of these requests."""
    query = select(Record.shard_id, Record.id).where(_removed_by(tx, request_ids)).order_by(Record.shard_id)
    records: dict[str, list[int]] = {}
    for shard_id, record_id in tx.session.execute(query):
        records.setdefault(shard_id, []).append(record_id)
    found = []
    for shard_id, ids in records.items():
        row = tx.session.get_one(RecordShard, shard_id, populate_existing=True)
        features = select(FeatureShard).where(FeatureShard.record_shard_id == shard_id)
        by_model = {f.model_id: f.object_name for f in tx.session.execute(features).scalars()}
        found.append(DoomedShard(shard_id, row.cohort_id, row.object_name, tuple(ids), by_model))
    return found


def replace(
    tx: Transaction, claim: jobs.Claim, old: DoomedShard, record_object: str | None, features: Mapping[str, str | None]
) -> bool:
    """Let go of a shard's forgotten records: point to the rewritten objects, delete the rows, doom the old objects.

    `None` for an object means that nothing is left in it. False, and nothing changed, when the shard or the set of its
    feature shards changed meanwhile. Raises LeaseLost.
    """
    jobs.check_fence(tx, claim)
    row = tx.session.get(RecordShard, old.shard_id, with_for_update=True, populate_existing=True)
    query = select(FeatureShard).where(FeatureShard.record_shard_id == old.shard_id)
    current = {f.model_id: f for f in tx.session.execute(query).scalars()}
    same = {model_id: f.object_name for model_id, f in current.items()} == dict(old.features)
    if row is None or row.object_name != old.object_name or not same:
        return False
    subjects = select(Record.subject_id).where(Record.id.in_(old.record_ids), Record.subject_id.is_not(None)).distinct()
    subject_ids = [subject_id for subject_id in tx.session.execute(subjects).scalars() if subject_id is not None]
    tx.session.execute(delete(Record).where(Record.id.in_(old.record_ids)))
    for model_id, feature_shard in current.items():
        name = features[model_id]
        if name is None:
            tx.session.delete(feature_shard)
        else:
            feature_shard.object_name = name
    tx.session.flush()
    if record_object is None:
        tx.session.delete(row)
    else:
        row.object_name = record_object
    uploads.drop_unused_subjects(tx, claim.tenant_id, subject_ids)
    inventory.doom(tx, [old.object_name, *old.features.values()])
    inventory.enliven(tx, [name for name in (record_object, *features.values()) if name is not None])
    return True


def records_left(tx: Transaction, request_ids: Sequence[str]) -> int:
    """Count rows of records that these requests removed."""
    query = select(Record.id).where(_removed_by(tx, request_ids)).limit(1)
    return len(tx.session.execute(query).all())


def _removed_by(tx: Transaction, request_ids: Sequence[str]) -> ColumnElement[bool]:
    """Return the condition on records that these requests removed, so that an index finds them among millions."""
    own = select(ForgetRequest.tenant_id, ForgetRequest.seq).where(ForgetRequest.id.in_(request_ids))
    named = [row for row in tx.session.execute(own) if row.seq is not None]
    return and_(
        Record.tenant_id.in_({row.tenant_id for row in named}),
        Record.removed_seq.in_({row.seq for row in named}),
        Record.request_id.in_(request_ids),
    )


def can_complete(tx: Transaction, request_ids: Sequence[str]) -> list[str]:
    """Return those of these requests that wait for no other, or only for ones among them or completed before."""
    ready = []
    for request_id in request_ids:
        request = tx.session.get_one(ForgetRequest, request_id)
        earlier = [tx.session.get_one(ForgetRequest, other) for other in request.waits_for]
        if all(other.state == "completed" or other.id in request_ids for other in earlier):
            ready.append(request_id)
    return ready


def refuse(tx: Transaction, claim: jobs.Claim, refused: Sequence[ForgetRequest], problem: LineageBroken) -> bool:
    """Show why these requests get no certificate. False when they all showed it before. Raises LeaseLost."""
    jobs.check_fence(tx, claim)
    error = f"{type(problem).__name__}: {problem}"
    news = [request for request in refused if request.error != error]
    for request in news:
        request.error = error
    return bool(news)


def complete(
    tx: Transaction, claim: jobs.Claim, request: ForgetRequest, envelope: bytes, evidence: dict[str, Any]
) -> None:
    """Complete a request: its certificate, its event and its state, in one transaction. Raises LeaseLost."""
    jobs.check_fence(tx, claim)
    request.state, request.outcome, request.completed_at = "completed", certificates.outcome(request), tx.now
    request.error, request.evidence = None, evidence
    requests.forget_selector(request)
    for model_id in tx.session.execute(select(RequestModel.model_id).where(RequestModel.request_id == request.id)):
        jobs.drop_measured(tx, model_id[0])
    tx.session.add(
        Certificate(request_id=request.id, tenant_id=request.tenant_id, envelope=envelope, created_at=tx.now)
    )
    events.append(tx, request.tenant_id, "forget.completed", request.id, outcome=request.outcome, **evidence)
