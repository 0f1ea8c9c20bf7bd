"""The stored integers: read whole, compared with the ledger's rows, and summed anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from sqlalchemy import select

from ledger import catalog, folding, inventory, shard_records
from ledger.database import Transaction
from ledger.errors import LedgerError
from ledger.shards import InMemory, ShardReader
from ledger.tables import Cohort, FeatureShard, Model, RecordShard, Upload
from ledger.uploads import feature_context, record_context
from unlearning.errors import UnlearningError
from unlearning.public_model import PublicModel
from unlearning.rows import QuantizedRows
from unlearning.statistics import Statistics
from workers import records
from workers.deps import Deps

MOST_PROBLEMS = 5
"""Of one kind are told; the rest is counted."""


@dataclass(frozen=True, slots=True)
class Shard:
    """A record shard, its object, the object of its features, and classes by record id as the ledger has them.

    held: of the records that the version holds; known: of all that have rows, also those that wait for their purge.
    """

    shard_id: str
    cohort_id: str
    object_name: str
    features: str | None
    held: dict[int, int]
    known: frozenset[int]


@dataclass
class Summed:
    """What was read: the sum over all retained records, None if some could not be read, and what is wrong with rows."""

    statistics: Statistics | None
    problems: list[str] = field(default_factory=list)
    records: int = 0


def shards_of(tx: Transaction, model: Model) -> list[Shard]:
    """List the shards of a model's user cohorts, with what the ledger says is in them at its applied sequence."""
    upto = model.applied_seq or 0
    cohorts = catalog.user_cohorts(tx, model.id)
    query = (
        select(RecordShard)
        .join(Upload, Upload.id == RecordShard.upload_id)
        .where(RecordShard.cohort_id.in_(cohorts), Upload.added_seq <= upto)
        .order_by(RecordShard.id)
    )
    rows = tx.session.execute(query).scalars().all()
    ids = [row.id for row in rows]
    features = select(FeatureShard.record_shard_id, FeatureShard.object_name).where(FeatureShard.model_id == model.id)
    names = {row.record_shard_id: row.object_name for row in tx.session.execute(features)}
    known, held = shard_records.known(tx, ids), folding.classes_held(tx, model.id, upto)
    return [
        Shard(row.id, row.cohort_id, row.object_name, names.get(row.id), held.get(row.id, {}), frozenset(known[row.id]))
        for row in rows
    ]


def add_up(
    deps: Deps, model: Model, public: PublicModel, shards: Sequence[Shard], on_progress: Callable[[float], None]
) -> Summed:
    """Read every feature shard and sum what the version holds. What cannot be read or does not fit is told."""
    summed = Summed(Statistics.zero(public.width, public.plan.columns))
    broken = 0
    for number, shard in enumerate(shards, start=1):
        try:
            found = _features(deps, model.id, public, shard)
        except (LedgerError, UnlearningError, _Misfit) as problem:
            broken += 1
            if broken <= MOST_PROBLEMS:
                summed.problems.append(f"shard {shard.shard_id}: {problem}")
            continue
        if found is not None and summed.statistics is not None:
            summed.statistics = summed.statistics.plus(found, public.plan)
            summed.records += found.count
        on_progress(number / len(shards))
    if broken > MOST_PROBLEMS:
        summed.problems.append(f"{broken - MOST_PROBLEMS} more shards are wrong")
    if broken:
        summed.statistics = None
    return summed


class _Misfit(Exception):
    """A shard does not hold what the ledger says."""


def _features(deps: Deps, model_id: str, public: PublicModel, shard: Shard) -> QuantizedRows | None:
    """Return the held rows of a shard, None when it holds none of this version. Raises LedgerError, _Misfit."""
    _same_ids("its records", _reader(deps, shard.object_name, record_context(shard.cohort_id)), shard)
    if shard.features is None:
        raise _Misfit("no features of it are stored")
    reader = _reader(deps, shard.features, feature_context(model_id))
    _same_ids("its features", reader, shard)
    if not shard.held:
        return None
    stored = reader.read(shard.held.keys())
    rows = public.unpack([stored[record_id] for record_id in shard.held])
    if not np.array_equal(rows.labels, np.array(list(shard.held.values()), dtype=np.int32)):
        raise _Misfit("a label that is stored with features is not the one in the ledger")
    return rows


def _reader(deps: Deps, name: str, context: bytes) -> ShardReader:
    """Return a reader over a whole object, whose bytes are those whose digest the ledger has. Raises LedgerError."""
    content = InMemory(inventory.read(deps.ledger.database, deps.ledger.objects, name))
    return ShardReader(content, name, ring=deps.ledger.ring, context=context)


def _same_ids(what: str, reader: ShardReader, shard: Shard) -> None:
    found = set(reader.ids())
    if more := len(found - shard.known):
        raise _Misfit(f"{what} in the store hold {more} that the ledger does not know: forgotten, or never its own")
    if missing := len(shard.known - found):
        raise _Misfit(f"{what} in the store lack {missing} of which the ledger has rows: brought back, or lost")


def extract_again(deps: Deps, public: PublicModel, model_id: str, shards: Sequence[Shard]) -> list[str]:
    """Compute the features of some shards anew from their records; say where they are not the stored ones.

    On another processor a float may round to the neighbouring integer, so one step of the grid is let pass.
    """
    problems = []
    for shard in shards:
        if not shard.held or shard.features is None:
            continue
        try:
            with deps.ledger.database.read() as tx:
                cohort = tx.session.get_one(Cohort, shard.cohort_id)
            ids, x = records.read_shard(deps.ledger, cohort, shard.object_name)
            kept = [place for place, record_id in enumerate(ids) if record_id in shard.held]
            labels = np.array([shard.held[ids[place]] for place in kept], dtype=np.int64)
            stored = _reader(deps, shard.features, feature_context(model_id)).read([ids[place] for place in kept])
            before = public.unpack([stored[ids[place]] for place in kept])
        except LedgerError as problem:
            problems.append(f"shard {shard.shard_id}: {problem}")
            continue
        anew = public.extract(x[kept], labels)
        if max(_furthest(anew.phi, before.phi), _furthest(anew.core_output, before.core_output)) > 1:
            problems.append(f"shard {shard.shard_id}: stored features are not those of its records")
    return problems


def _furthest(left: np.ndarray, right: np.ndarray) -> int:
    return int(np.abs(left.astype(np.int64) - right.astype(np.int64)).max(initial=0))
