"""Changes that a model cannot make yet, and that no request shall wait for.

A change needs stored features: a removal subtracts them, an addition adds them, a correction does both. If they are
missing or damaged, this change alone gets a later place in the sequence of changes, for this model alone, until an
operator has repaired what is missing and has the job tried again. Deferred are

- requests: what a removal takes out stays in the model, and a correction's old records stay in the place of its new
  ones. The request is `failed` until then, so nobody takes it for done;
- shards of other records: they are not taken in.

A correction of records that a deferred correction brings is deferred with it: the model would hold its new records
beside the old ones of the first. It waits, as whoever asks for the same person to be forgotten does.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import ColumnElement, Select, delete, exists, or_, select

from ledger import changes
from ledger.database import Transaction
from ledger.tables import Deferral, DeferredShard, ForgetRequest, Model, Record, RecordShard, RequestModel, Upload

AT_ONCE = 500
Kind = type[Deferral] | type[DeferredShard]


def has_any(tx: Transaction, model_id: str) -> bool:
    """Whether a model has deferred anything; nearly always not."""
    kinds: tuple[Kind, ...] = (Deferral, DeferredShard)
    return any(tx.session.execute(select(one).where(one.model_id == model_id).limit(1)).first() for one in kinds)


def late(kind: Kind, model_id: str, at: int) -> ColumnElement[bool]:
    """Return the condition on what a model's version at `at` has not done yet."""
    return (kind.model_id == model_id) & or_(kind.seq.is_(None), kind.seq > at)


def made_up(kind: Kind, model_id: str, after: int | None, upto: int) -> ColumnElement[bool]:
    """Return the condition on what a model's version at `upto` has done and the one at `after` (None: none) has not."""
    since = kind.seq.is_not(None) if after is None else kind.seq > after
    return (kind.model_id == model_id) & since & (kind.seq <= upto)


def beyond(tx: Transaction, model_id: str, upto: int) -> list[str]:
    """Return the requests whose records a model's version at `upto` still holds because they were deferred."""
    return list(tx.session.execute(select(Deferral.request_id).where(late(Deferral, model_id, upto))).scalars())


def shards_beyond(tx: Transaction, model_id: str, upto: int) -> list[str]:
    """Return the shards of records that a model's version at `upto` lacks because they were deferred."""
    query = select(DeferredShard.record_shard_id).where(late(DeferredShard, model_id, upto))
    return list(tx.session.execute(query).scalars())


def requests_of(tx: Transaction, record_ids: Collection[int]) -> list[str]:
    """Return the requests that removed these records."""
    return _found(tx, select(Record.request_id).distinct(), record_ids)


def corrections_of(tx: Transaction, model_id: str, record_ids: Collection[int]) -> list[str]:
    """Return the requests of the corrections that bring these records and that the model has not passed."""
    query = select(Upload.request_id).join(Record, Record.upload_id == Upload.id).distinct()
    return _found(tx, query.where(Upload.request_id.in_(_waiting(model_id))), record_ids)


def shards_of(tx: Transaction, model_id: str, record_ids: Collection[int]) -> list[str]:
    """Return the shards of these records, without those that such corrections bring."""
    query = select(Record.shard_id).join(Upload, Upload.id == Record.upload_id).distinct()
    alone = or_(Upload.request_id.is_(None), Upload.request_id.not_in(_waiting(model_id)))
    return _found(tx, query.where(alone), record_ids)


def _found(tx: Transaction, query: Select[str | None] | Select[str], record_ids: Collection[int]) -> list[str]:
    ids = sorted(record_ids)
    found: set[str] = set()
    for start in range(0, len(ids), AT_ONCE):
        of_some = query.where(Record.id.in_(ids[start : start + AT_ONCE]))
        found.update(one for one in tx.session.execute(of_some).scalars() if one is not None)
    return sorted(found)


def _waiting(model_id: str) -> Select[str]:
    """Select the requests that a model has not passed."""
    return select(RequestModel.request_id).where(RequestModel.model_id == model_id, RequestModel.version_id.is_(None))


def defer(tx: Transaction, model_id: str, request_ids: Sequence[str], shard_ids: Sequence[str] = ()) -> None:
    """Let a model go on without these changes until somebody has it tried again.

    The caller holds the lock on the tenant's counter.
    """
    for request_id in request_ids:
        tx.session.merge(Deferral(model_id=model_id, request_id=request_id, seq=None, created_at=tx.now))
    for shard_id in shard_ids:
        tx.session.merge(DeferredShard(model_id=model_id, record_shard_id=shard_id, seq=None, created_at=tx.now))
    tx.session.flush()
    if following := _following(tx, model_id):
        defer(tx, model_id, following)


def follow(tx: Transaction, tenant_id: str) -> None:
    """Defer a correction that was just put into the sequence wherever it builds on one that is deferred.

    The caller holds the lock on the tenant's counter.
    """
    mine = select(Model.id).where(Model.tenant_id == tenant_id)
    deferring = select(Deferral.model_id).where(Deferral.seq.is_(None), Deferral.model_id.in_(mine)).distinct()
    for model_id in tx.session.execute(deferring).scalars().all():
        defer(tx, model_id, [])


def _following(tx: Transaction, model_id: str) -> list[str]:
    """Return corrections that replace what deferred corrections bring, and that are not deferred themselves."""
    deferred = select(Deferral.request_id).where(Deferral.model_id == model_id, Deferral.seq.is_(None))
    brought = select(RecordShard.id).join(Upload, Upload.id == RecordShard.upload_id)
    query = (
        select(Record.request_id)
        .distinct()
        .join(Upload, Upload.id == Record.upload_id)
        .where(
            Record.shard_id.in_(brought.where(Upload.request_id.in_(deferred))),
            Record.removed_seq > Upload.added_seq,
            Record.request_id.in_(select(Upload.request_id).where(Upload.request_id.is_not(None))),
            Record.request_id.in_(_waiting(model_id)),
            Record.request_id.not_in(deferred),
        )
    )
    return sorted(one for one in tx.session.execute(query).scalars() if one is not None)


def take_up(tx: Transaction, tenant_id: str, model_id: str) -> None:
    """Give what a model has deferred its place in the sequence of changes: now, in the order of the first places."""
    shards = (
        select(DeferredShard, RecordShard.upload_id)
        .join(RecordShard, RecordShard.id == DeferredShard.record_shard_id)
        .where(DeferredShard.model_id == model_id, DeferredShard.seq.is_(None))
        .order_by(RecordShard.upload_id)
    )
    places: dict[str, int] = {}
    for shard, upload_id in tx.session.execute(shards.execution_options(populate_existing=True)).all():
        if upload_id not in places:
            places[upload_id] = changes.next_change(tx, tenant_id, changes.ADDED, upload_id=upload_id)
        shard.seq = places[upload_id]
    requests = (
        select(Deferral, Upload.id)
        .join(ForgetRequest, ForgetRequest.id == Deferral.request_id)
        .outerjoin(Upload, Upload.request_id == Deferral.request_id)
        .where(Deferral.model_id == model_id, Deferral.seq.is_(None))
        .order_by(ForgetRequest.seq, Deferral.request_id)
    )
    for one, upload_id in tx.session.execute(requests.execution_options(populate_existing=True)).all():
        kind = changes.REMOVED if upload_id is None else changes.CORRECTED
        one.seq = changes.next_change(tx, tenant_id, kind, upload_id=upload_id, request_id=one.request_id)
    tx.session.flush()


def made(tx: Transaction, model_id: str, applied_seq: int) -> None:
    """Forget what a model has made up for by `applied_seq`, in the transaction that publishes it."""
    _delete(tx, (Deferral.model_id == model_id) & (Deferral.seq <= applied_seq), Deferral)
    _delete(tx, (DeferredShard.model_id == model_id) & (DeferredShard.seq <= applied_seq), DeferredShard)


def drop(tx: Transaction, model_id: str) -> None:
    """Forget everything that a model has deferred: it is gone."""
    _delete(tx, Deferral.model_id == model_id, Deferral)
    _delete(tx, DeferredShard.model_id == model_id, DeferredShard)


def _delete(tx: Transaction, condition: ColumnElement[bool], kind: Kind) -> None:
    tx.session.execute(delete(kind).where(condition).execution_options(synchronize_session=False))


def is_open(tx: Transaction, request_id: str) -> bool:
    """Whether some model has deferred the request for an unknown time."""
    query = select(Deferral.model_id).where(Deferral.request_id == request_id, Deferral.seq.is_(None))
    return tx.session.execute(query.limit(1)).first() is not None


def reopen(tx: Transaction, tenant_id: str, *, purging: bool) -> None:
    """Let failed requests go on that no model defers for an unknown time any more.

    With `purging` those of which only the purge is left, else those that some model has not passed yet.
    """
    waits = exists().where(RequestModel.request_id == ForgetRequest.id, RequestModel.version_id.is_(None))
    deferred = exists().where(Deferral.request_id == ForgetRequest.id, Deferral.seq.is_(None))
    failed = select(ForgetRequest).where(
        ForgetRequest.tenant_id == tenant_id, ForgetRequest.state == "failed", ~deferred, ~waits if purging else waits
    )
    for request in tx.session.execute(failed.with_for_update()).scalars():
        request.state, request.error = ("purging" if purging else "scrubbing"), None
