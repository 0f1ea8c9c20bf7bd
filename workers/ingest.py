"""The jobs `ingest_model` and `ingest_upload`: quantized features of stored records, shard by shard."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sqlalchemy import func, select

from ledger import catalog, features, folding, inventory, jobs
from ledger.database import Transaction
from ledger.errors import ObjectMissing
from ledger.shards import encode_shard
from ledger.tables import Cohort, RecordShard, Upload
from ledger.uploads import feature_context
from unlearning.public_model import PublicModel
from unlearning.rows import pack
from workers import models, records
from workers.deps import Deps
from workers.progress import Progress

SHARDS_TOGETHER = 32
TOGETHER_US = 1_000_000
"""Shards whose features are committed together, and how long they may be gathered."""


def run_model(deps: Deps, claim: jobs.Claim) -> None:
    """Make a new model's features of everything stored, then declare it ready. Raises UnlearningError, LedgerError."""
    assert claim.model_id is not None
    with deps.ledger.database.read() as tx:
        todo = folding.shards_without_features(tx, claim.model_id)
        cohorts = catalog.user_cohorts(tx, claim.model_id)
        total = _count_shards(tx, RecordShard.cohort_id.in_(cohorts))
    finished = _extract(deps, claim, claim.model_id, todo, total)
    with deps.ledger.database.begin() as tx:
        if finished and features.make_ready(tx, claim):
            jobs.finish(tx, claim)
        else:
            jobs.put_back(tx, claim, not_before=tx.now)


def run_upload(deps: Deps, claim: jobs.Claim) -> None:
    """Make every ready model's features of an upload, then put the upload into the sequence of changes."""
    assert claim.upload_id is not None
    with deps.ledger.database.read() as tx:
        upload = tx.session.get_one(Upload, claim.upload_id)
        ready = [model.id for model in catalog.models_over(tx, [upload.cohort_id], states=("ready",))]
        todo = {model_id: folding.shards_without_features(tx, model_id, upload_id=upload.id) for model_id in ready}
        total = _count_shards(tx, RecordShard.upload_id == upload.id)
    finished = all(_extract(deps, claim, model_id, shards, total) for model_id, shards in todo.items())
    with deps.ledger.database.begin() as tx:
        if finished and features.add_upload(tx, claim):
            jobs.finish(tx, claim, features.added_facts(tx, upload.id))
        else:
            jobs.put_back(tx, claim, not_before=tx.now)


def _count_shards(tx: Transaction, condition: object) -> int:
    return tx.session.execute(select(func.count()).select_from(RecordShard).where(condition)).scalar_one()  # type: ignore[arg-type]  # a column condition


def _extract(deps: Deps, claim: jobs.Claim, model_id: str, todo: list[RecordShard], total: int) -> bool:
    """Extract shard by shard until all are done (True) or the slice of time is over (False)."""
    if not todo:
        return True
    public = models.load_public(deps, model_id)
    progress = Progress(deps, claim, note="extracting features")
    end = deps.clock_us() + deps.slice_us
    at = 0
    while at < len(todo):
        if deps.clock_us() > end:
            return False
        at += _extract_group(deps, claim, model_id, public, todo[at : at + SHARDS_TOGETHER])
        progress(1 - (len(todo) - at) / max(total, 1))
    return True


def _extract_group(
    deps: Deps, claim: jobs.Claim, model_id: str, public: PublicModel, shards: Sequence[RecordShard]
) -> int:
    """Make the features of the first of these shards, as many as fit into a moment; return how many.

    Shards that a purge replaces meanwhile get none: the next slice makes them anew. The objects are booked before the
    shards are read. So a purge that has replaced a shard sees every object that may hold features of a forgotten
    record, and waits for it; a moment keeps that wait short.
    """
    ledger = deps.ledger
    names = inventory.book(ledger.database, claim.tenant_id, "features", claim.owner, count=len(shards))
    blobs: dict[str, list[bytes]] = {}
    made: list[tuple[RecordShard, str]] = []
    done = 0
    end = deps.clock_us() + TOGETHER_US
    for shard, name in zip(shards, names, strict=True):
        if done and deps.clock_us() > end:
            break
        done += 1
        found = _read(deps, shard)
        if found is None:
            continue
        ids, x, labels = found
        blob = encode_shard(
            list(zip(ids, pack(public.extract(x, labels)), strict=True)),
            ring=ledger.ring,
            context=feature_context(model_id),
            random=ledger.database.random,
        )
        blobs[name] = [blob]
        made.append((shard, name))
    inventory.write_booked(ledger.database, ledger.objects, claim.owner, blobs)
    deps.point("ingest.written")
    with ledger.database.begin() as tx:
        kept = {name for shard, name in made if features.add_shard(tx, claim, model_id, shard, name)}
        inventory.doom(tx, [name for name in names if name not in kept])
    return done


def _read(deps: Deps, shard: RecordShard) -> tuple[list[int], records.Records, records.Labels] | None:
    """Return ids, records and labels of a shard, or None when it was replaced meanwhile. Raises ObjectMissing."""
    with deps.ledger.database.read() as tx:
        cohort = tx.session.get_one(Cohort, shard.cohort_id)
        classes = folding.classes_of(tx, shard.id)
    try:
        ids, x = records.read_shard(deps.ledger, cohort, shard.object_name)
    except ObjectMissing:
        if _replaced(deps, shard):
            return None
        raise
    if _replaced(deps, shard):
        return None
    return ids, x, np.array([classes[record_id] for record_id in ids], dtype=np.int64)


def _replaced(deps: Deps, shard: RecordShard) -> bool:
    with deps.ledger.database.read() as tx:
        now = tx.session.get(RecordShard, shard.id)
    return now is None or now.object_name != shard.object_name
