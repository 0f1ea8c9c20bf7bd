"""The jobs `ingest_model` and `ingest_upload`: quantized features of stored records, shard by shard.

Where there are many shards the job leaves them to parts, jobs `ingest_part` that any number of workers do side by side
(ledger/job_parts.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from sqlalchemy import func, select

from ledger import catalog, features, folding, inventory, job_parts, jobs
from ledger.database import Transaction
from ledger.errors import ObjectMissing
from ledger.shards import encode_shard
from ledger.tables import Cohort, JobPart, RecordShard, Upload
from ledger.uploads import feature_context
from unlearning.public_model import PublicModel
from unlearning.rows import pack
from workers import models, records
from workers.deps import Deps
from workers.errors import PartFailed
from workers.progress import INTERVAL_US, Progress

SHARDS_TOGETHER = 32
TOGETHER_US = 1_000_000
"""Shards whose features are committed together, and how long they may be gathered."""
DIRECT_SHARDS = 256
"""Shards that one job does by itself: some seconds of work."""
PART_SHARDS, MOST_PARTS = 128, 64
"""Shards of a part at least, and parts of a job at most: every worker is told of every part."""


def run_model(deps: Deps, claim: jobs.Claim) -> None:
    """Make a new model's features of everything stored, then declare it ready.

    Raises PartFailed, UnlearningError, LedgerError.
    """
    assert claim.model_id is not None
    _collect(deps, claim)
    with deps.ledger.database.read() as tx:
        todo = {claim.model_id: folding.shards_without_features(tx, claim.model_id)}
        cohorts = catalog.user_cohorts(tx, claim.model_id)
        total = _count_shards(tx, RecordShard.cohort_id.in_(cohorts))
    if _split(deps, claim, todo):
        return
    finished = _extract_all(deps, claim, todo, total)
    with deps.ledger.database.begin() as tx:
        if finished and features.make_ready(tx, claim):
            jobs.finish(tx, claim)
        else:
            jobs.put_back(tx, claim, not_before=tx.now)


def run_upload(deps: Deps, claim: jobs.Claim) -> None:
    """Make every ready model's features of an upload, then put the upload into the sequence of changes.

    Raises PartFailed, UnlearningError, LedgerError.
    """
    assert claim.upload_id is not None
    _collect(deps, claim)
    with deps.ledger.database.read() as tx:
        upload = tx.session.get_one(Upload, claim.upload_id)
        ready = [model.id for model in catalog.models_over(tx, [upload.cohort_id], states=("ready",))]
        todo = {model_id: folding.shards_without_features(tx, model_id, upload_id=upload.id) for model_id in ready}
        total = _count_shards(tx, RecordShard.upload_id == upload.id)
    if _split(deps, claim, todo):
        return
    finished = _extract_all(deps, claim, todo, total)
    with deps.ledger.database.begin() as tx:
        if finished and features.add_upload(tx, claim):
            jobs.finish(tx, claim, features.added_facts(tx, upload.id))
        else:
            jobs.put_back(tx, claim, not_before=tx.now)


def run_part(deps: Deps, claim: jobs.Claim) -> None:
    """Make a model's features of a range of shards, as a part of one of the jobs above.

    What was made before, by whomever, is not made again; what a purge has replaced meanwhile is made anew.
    Raises UnlearningError, LedgerError.
    """
    assert claim.model_id is not None
    database = deps.ledger.database
    with database.read() as tx:
        part = job_parts.of(tx, claim)
        todo = [] if part is None else _of_part(tx, claim, part)
    if part is None:  # the job that it belonged to was given up
        with database.begin() as tx:
            jobs.finish(tx, claim)
        return
    finished = _extract(deps, claim, claim.model_id, todo, _teller(deps, claim, part))
    deps.point("ingest_part.extracted")
    with database.begin() as tx:
        if finished and not _of_part(tx, claim, part):
            job_parts.finish(tx, claim)
        else:
            jobs.put_back(tx, claim, not_before=tx.now)
        deps.point("ingest_part.ending")
    deps.point("ingest_part.ended")
    job_parts.tell_parent(database, part.parent_id)


def _teller(deps: Deps, claim: jobs.Claim, part: JobPart) -> Callable[[int], None]:
    """Return what notes how many shards of a part are left, at most a few times a second."""
    last_us = 0

    def told(left: int) -> None:
        nonlocal last_us
        if deps.clock_us() - last_us >= INTERVAL_US:
            job_parts.report(deps.ledger.database, claim, part.shards - left)
            last_us = deps.clock_us()

    return told


def _of_part(tx: Transaction, claim: jobs.Claim, part: JobPart) -> list[RecordShard]:
    assert claim.model_id is not None
    between = (part.first_shard, part.last_shard)
    return folding.shards_without_features(tx, claim.model_id, upload_id=claim.upload_id, between=between)


def _collect(deps: Deps, claim: jobs.Claim) -> None:
    """Let go of the parts that an earlier run has made, if any. Raises PartFailed."""
    with deps.ledger.database.begin() as tx:
        errors = job_parts.collect(tx, claim)
    if errors:
        raise PartFailed(errors)
    deps.point("ingest.collected")


def _split(deps: Deps, claim: jobs.Claim, todo: Mapping[str, Sequence[RecordShard]]) -> bool:
    """Leave the work to parts, if it is worth it. Each shard of a model stands in one of them."""
    total = sum(len(shards) for shards in todo.values())
    if total <= DIRECT_SHARDS:
        return False
    size = max(PART_SHARDS, -(-total // MOST_PARTS))
    shares = [
        job_parts.Share(model_id, [shard.id for shard in shards[start : start + size]])
        for model_id, shards in todo.items()
        for start in range(0, len(shards), size)
    ]
    with deps.ledger.database.begin() as tx:
        job_parts.split(tx, claim, jobs.INGEST_PART, shares)
        deps.point("ingest.splitting")
    deps.point("ingest.split")
    return True


def _count_shards(tx: Transaction, condition: object) -> int:
    return tx.session.execute(select(func.count()).select_from(RecordShard).where(condition)).scalar_one()  # type: ignore[arg-type]  # a column condition


def _extract_all(deps: Deps, claim: jobs.Claim, todo: Mapping[str, Sequence[RecordShard]], total: int) -> bool:
    progress = Progress(deps, claim, note="extracting features")

    def told(left: int) -> None:
        progress(1 - left / max(total, 1))

    return all(_extract(deps, claim, model_id, shards, told) for model_id, shards in todo.items())


def _extract(
    deps: Deps, claim: jobs.Claim, model_id: str, todo: Sequence[RecordShard], told: Callable[[int], None]
) -> bool:
    """Extract shard by shard until all are done (True) or the slice of time is over (False); tell how many are left."""
    if not todo:
        return True
    public = models.load_public(deps, model_id)
    end = deps.clock_us() + deps.slice_us
    at = 0
    while at < len(todo):
        if deps.clock_us() > end:
            return False
        at += _extract_group(deps, claim, model_id, public, todo[at : at + SHARDS_TOGETHER])
        told(len(todo) - at)
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
