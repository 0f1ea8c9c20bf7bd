"""What a published removal leaves to be destroyed, and the transactions that let go of it."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, select

from ledger import certificates, contents, deferrals, dry_runs, events, inventory, jobs, receipts, requests, uploads
from ledger.database import Transaction
from ledger.errors import LineageBroken
from ledger.tables import Certificate, FeatureShard, ForgetRequest, ModelVersion, Record, RecordShard, RequestModel

AT_ONCE = 500  # rows named in one statement


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
            jobs.drop_counts(tx, _uploads_of(tx, request.id))
            request.state = "purging"
            dry_runs.versions_replaced(tx, claim.tenant_id)
            events.append(tx, claim.tenant_id, "forget.purging", request.id)
    return [request.id for request in found]


def _uploads_of(tx: Transaction, request_id: str) -> list[str]:
    query = select(Record.upload_id).where(_removed_by(tx, [request_id])).distinct()
    return list(tx.session.execute(query).scalars())


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
    rows = {row.id: row for row in _record_shards(tx, list(records), lock=False)}
    features = _feature_shards(tx, list(records))
    return [
        DoomedShard(
            shard_id, rows[shard_id].cohort_id, rows[shard_id].object_name, tuple(ids), _names(features, shard_id)
        )
        for shard_id, ids in records.items()
    ]


def concerned(tx: Transaction, request_ids: Sequence[str], shard_ids: Collection[str]) -> list[str]:
    """Return those of these requests that have records in these shards."""
    found = {
        record_id for shard in shards(tx, request_ids) if shard.shard_id in shard_ids for record_id in shard.record_ids
    }
    return deferrals.requests_of(tx, found)


def replace(
    tx: Transaction, claim: jobs.Claim, old: Sequence[DoomedShard], successors: Mapping[str, str | None]
) -> list[DoomedShard]:
    """Let go of shards' forgotten records: point to the rewritten objects, delete the rows, doom the old objects.

    `successors` maps each object to the one that takes its place, None when nothing is left in it. Returns the shards
    that were replaced; where a shard or the set of its feature shards changed meanwhile, its successors are doomed
    instead. Raises LeaseLost.
    """
    jobs.check_fence(tx, claim)
    shard_ids = [shard.shard_id for shard in old]
    rows = {row.id: row for row in _record_shards(tx, shard_ids, lock=True)}
    features = _feature_shards(tx, shard_ids)
    replaced = []
    for shard in old:
        row = rows.get(shard.shard_id)
        if row is not None and (row.object_name, _names(features, row.id)) == (shard.object_name, dict(shard.features)):
            replaced.append(shard)
        else:
            inventory.doom(tx, [successors[name] for name in (shard.object_name, *shard.features.values())])
    _delete_records(tx, claim.tenant_id, [record_id for shard in replaced for record_id in shard.record_ids])
    for shard in replaced:
        for feature_shard in features.get(shard.shard_id, ()):
            _point_to(tx, feature_shard, successors[feature_shard.object_name])
    tx.session.flush()  # feature shards refer to record shards
    for shard in replaced:
        _point_to(tx, rows[shard.shard_id], successors[shard.object_name])
    names = [name for shard in replaced for name in (shard.object_name, *shard.features.values())]
    inventory.doom(tx, names)
    inventory.enliven(tx, [new for name in names if (new := successors[name]) is not None])
    return replaced


def _point_to(tx: Transaction, row: RecordShard | FeatureShard, name: str | None) -> None:
    if name is None:
        tx.session.delete(row)
    else:
        row.object_name = name


def _record_shards(tx: Transaction, shard_ids: Sequence[str], *, lock: bool) -> list[RecordShard]:
    found: list[RecordShard] = []
    for start in range(0, len(shard_ids), AT_ONCE):
        query = select(RecordShard).where(RecordShard.id.in_(shard_ids[start : start + AT_ONCE]))
        query = query.order_by(RecordShard.id).execution_options(populate_existing=True)
        found += tx.session.execute(query.with_for_update() if lock else query).scalars()
    return found


def _feature_shards(tx: Transaction, shard_ids: Sequence[str]) -> dict[str, list[FeatureShard]]:
    found: dict[str, list[FeatureShard]] = {}
    for start in range(0, len(shard_ids), AT_ONCE):
        query = select(FeatureShard).where(FeatureShard.record_shard_id.in_(shard_ids[start : start + AT_ONCE]))
        for row in tx.session.execute(query.execution_options(populate_existing=True)).scalars():
            found.setdefault(row.record_shard_id, []).append(row)
    return found


def _names(features: Mapping[str, Sequence[FeatureShard]], shard_id: str) -> dict[str, str]:
    return {row.model_id: row.object_name for row in features.get(shard_id, ())}


def _delete_records(tx: Transaction, tenant_id: str, record_ids: Sequence[int]) -> None:
    """Delete rows of records, and the subjects of whom nothing is left."""
    subject_ids: set[str] = set()
    for start in range(0, len(record_ids), AT_ONCE):
        part = Record.id.in_(record_ids[start : start + AT_ONCE])
        subjects = select(Record.subject_id).where(part, Record.subject_id.is_not(None)).distinct()
        subject_ids.update(
            subject_id for subject_id in tx.session.execute(subjects).scalars() if subject_id is not None
        )
        tx.session.execute(delete(Record).where(part).execution_options(synchronize_session=False))
    uploads.drop_unused_subjects(tx, tenant_id, sorted(subject_ids))


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
    request.in_core = None  # the outcome says that there were some; how many tells more about them than it must
    requests.forget_selector(request)
    receipts.completed(tx, request)
    for model_id in tx.session.execute(select(RequestModel.model_id).where(RequestModel.request_id == request.id)):
        jobs.drop_measured(tx, model_id[0])
    tx.session.add(
        Certificate(request_id=request.id, tenant_id=request.tenant_id, envelope=envelope, created_at=tx.now)
    )
    issued = hashlib.sha256(envelope).hexdigest()  # so the log vouches for the certificate too
    events.append(
        tx, request.tenant_id, "forget.completed", request.id, outcome=request.outcome, certificate=issued, **evidence
    )
