"""Which records a model must fold in or take out to get from one sequence number to another.

A version at sequence number a holds the records of the model's cohorts that were added by a and not removed by a.
Where the model has deferred something (ledger/deferrals.py), it counts at its later place: a removal, an addition, and
both at once for a correction. What was removed before it was added at all is held by no version, deferred or not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Select, and_, exists, or_, select

from ledger import catalog, deferrals
from ledger.database import Transaction
from ledger.tables import Deferral, DeferredShard, FeatureShard, Model, Record, RecordShard, Upload

SHARDS_AT_ONCE = 400


@dataclass(frozen=True, slots=True)
class FeatureRows:
    """Records in one feature shard: the object to read and, for each record id, its class index in the ledger."""

    object_name: str
    classes: dict[int, int]


def added(
    tx: Transaction, model_id: str, after: int | None, upto: int, *, between: tuple[str, str] | None = None
) -> list[FeatureRows]:
    """List the records that version `upto` holds and version `after` (None: nothing yet) does not.

    With `between` only those in the record shards from the one id to the other, in the database's order.
    """
    condition = _added(tx, model_id, after, upto, between)
    return [] if condition is None else _rows(tx, model_id, condition)


def _added(
    tx: Transaction, model_id: str, after: int | None, upto: int, between: tuple[str, str] | None
) -> ColumnElement[bool] | None:
    cohorts = catalog.user_cohorts(tx, model_id)
    new = Upload.added_seq.is_not(None) if after is None else Upload.added_seq > after
    uploads = select(Upload.id).where(Upload.cohort_id.in_(cohorts), new, Upload.added_seq <= upto)
    deferring = deferrals.has_any(tx, model_id)
    if not deferring and tx.session.execute(uploads.limit(1)).first() is None:
        return None  # the common case of a forget, which must not look at a million records
    came: ColumnElement[bool] = RecordShard.upload_id.in_(uploads)
    if deferring:
        came = or_(came, and_(RecordShard.cohort_id.in_(cohorts), _made_up(model_id, after, upto)))
    shards = select(RecordShard.id).where(came)
    if between is not None:
        shards = shards.where(RecordShard.id.between(*between))
    held = or_(Record.removed_seq.is_(None), Record.removed_seq > upto)
    condition: ColumnElement[bool] = Record.shard_id.in_(shards)
    if deferring:
        held = or_(held, and_(Record.request_id.in_(_late_requests(model_id, upto)), _was_added()))
        condition = and_(condition, _not_late(model_id, upto))
    return and_(condition, held)


def _late_requests(model_id: str, at: int) -> Select[str]:
    return select(Deferral.request_id).where(deferrals.late(Deferral, model_id, at))


def _not_late(model_id: str, at: int) -> ColumnElement[bool]:
    """Return the condition on records whose addition is not deferred to after `at`."""
    shards = select(DeferredShard.record_shard_id).where(deferrals.late(DeferredShard, model_id, at))
    uploads = select(Upload.id).where(Upload.request_id.in_(_late_requests(model_id, at)))
    return and_(Record.shard_id.not_in(shards), Record.upload_id.not_in(uploads))


def _made_up(model_id: str, after: int | None, upto: int) -> ColumnElement[bool]:
    """Return the condition on record shards whose addition was deferred to a place in (after, upto]."""
    shards = select(DeferredShard.record_shard_id).where(deferrals.made_up(DeferredShard, model_id, after, upto))
    requests = select(Deferral.request_id).where(deferrals.made_up(Deferral, model_id, after, upto))
    uploads = select(Upload.id).where(Upload.request_id.in_(requests))
    return or_(RecordShard.id.in_(shards), RecordShard.upload_id.in_(uploads))


def _was_added() -> ColumnElement[bool]:
    """Return the condition on records that were removed after they had been added."""
    return exists().where(Upload.id == Record.upload_id, Upload.added_seq < Record.removed_seq)


def shards_added(tx: Transaction, model_id: str, upto: int) -> list[str]:
    """List the record shards of a model's cohorts that were added up to `upto`, in the database's order of ids."""
    query = select(RecordShard.id).join(Upload, Upload.id == RecordShard.upload_id)
    query = query.where(RecordShard.cohort_id.in_(catalog.user_cohorts(tx, model_id)), Upload.added_seq <= upto)
    return list(tx.session.execute(query.order_by(RecordShard.id)).scalars())


def removed(tx: Transaction, model_id: str, after: int | None, upto: int) -> list[FeatureRows]:
    """List the records that version `after` holds and version `upto` does not."""
    if after is None:
        return []
    model = tx.session.get_one(Model, model_id)
    held_before = select(Upload.id).where(Upload.added_seq <= after)
    in_time = and_(Record.removed_seq > after, Record.removed_seq <= upto)
    if deferrals.has_any(tx, model_id):
        deferred = select(Deferral.request_id).where(Deferral.model_id == model_id)
        now = select(Deferral.request_id).where(deferrals.made_up(Deferral, model_id, after, upto))
        made_up = and_(Record.removed_seq.is_not(None), Record.request_id.in_(now), _was_added())
        in_time = or_(and_(in_time, Record.request_id.not_in(deferred)), made_up)
        in_time = and_(in_time, _not_late(model_id, after))
    condition = and_(
        Record.tenant_id == model.tenant_id,  # with removed_seq, what the index of removed records is made of
        in_time,
        Record.cohort_id.in_(catalog.user_cohorts(tx, model_id)),
        Record.upload_id.in_(held_before),
    )
    return _rows(tx, model_id, condition)


def chosen(tx: Transaction, model_id: str, condition: ColumnElement[bool], at: int) -> list[FeatureRows]:
    """List the records under `condition` among those that version `at` holds, if they are not removed."""
    held_by = select(Upload.id).where(Upload.added_seq <= at)
    cohorts = catalog.user_cohorts(tx, model_id)
    if deferrals.has_any(tx, model_id):
        condition = and_(condition, _not_late(model_id, at))
    return _rows(tx, model_id, and_(condition, Record.cohort_id.in_(cohorts), Record.upload_id.in_(held_by)))


def held(tx: Transaction, model_id: str, at: int) -> list[FeatureRows]:
    """List every record that version `at` holds and whose features are still stored."""
    return added(tx, model_id, None, at)


def classes_held(tx: Transaction, model_id: str, at: int) -> dict[str, dict[int, int]]:
    """Map record shards to the ids and class indices of what version `at` holds, whether or not there are features."""
    condition = _added(tx, model_id, None, at, None)
    return {} if condition is None else _by_shard(tx, condition)


def _rows(tx: Transaction, model_id: str, condition: ColumnElement[bool]) -> list[FeatureRows]:
    by_shard = _by_shard(tx, condition)
    names = feature_objects(tx, model_id, list(by_shard))
    return [FeatureRows(names[shard_id], classes) for shard_id, classes in by_shard.items()]


def _by_shard(tx: Transaction, condition: ColumnElement[bool]) -> dict[str, dict[int, int]]:
    query = select(Record.shard_id, Record.id, Record.class_index).where(condition).order_by(Record.shard_id)
    by_shard: dict[str, dict[int, int]] = {}
    for shard_id, record_id, class_index in tx.session.execute(query):
        by_shard.setdefault(shard_id, {})[record_id] = class_index
    return by_shard


def feature_objects(tx: Transaction, model_id: str, shard_ids: Sequence[str]) -> dict[str, str]:
    """Map record shards to the objects with their features in this model."""
    names: dict[str, str] = {}
    for start in range(0, len(shard_ids), SHARDS_AT_ONCE):
        query = select(FeatureShard.record_shard_id, FeatureShard.object_name).where(
            FeatureShard.model_id == model_id,
            FeatureShard.record_shard_id.in_(shard_ids[start : start + SHARDS_AT_ONCE]),
        )
        names |= {row.record_shard_id: row.object_name for row in tx.session.execute(query)}
    return names


def shards_without_features(
    tx: Transaction, model_id: str, *, upload_id: str | None = None, between: tuple[str, str] | None = None
) -> list[RecordShard]:
    """List record shards of stored uploads (or of one) over which the model's features are still to be made.

    In the database's order of ids; with `between` only those from the one id to the other.
    """
    cohorts = catalog.user_cohorts(tx, model_id)
    done = select(FeatureShard.record_shard_id).where(FeatureShard.model_id == model_id)
    query = (
        select(RecordShard)
        .join(Upload, Upload.id == RecordShard.upload_id)
        .where(RecordShard.cohort_id.in_(cohorts), RecordShard.id.not_in(done))
    )
    query = query.where(Upload.id == upload_id) if upload_id else query.where(Upload.added_seq.is_not(None))
    if between is not None:
        query = query.where(RecordShard.id.between(*between))
    return list(tx.session.execute(query.order_by(RecordShard.id)).scalars())


def classes_of(tx: Transaction, shard_id: str) -> dict[int, int]:
    """Map the ids of a shard's records to their class indices, those waiting to be purged included."""
    query = select(Record.id, Record.class_index).where(Record.shard_id == shard_id)
    return {row.id: row.class_index for row in tx.session.execute(query)}
