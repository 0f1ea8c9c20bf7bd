"""The sum of a large first version in parts: jobs `sum_part`, whose integer sums are merged by the `advance`.

A partial sum knows the persons in it. So it is an object like statistics, sealed and booked, and it is doomed in the
transaction that publishes the version for which it was summed. Whoever is forgotten before that waits for that version,
as for any model that is ready; so at the moment of the certificate no partial sum is left that knew the person. Only
the first version is summed in parts: later ones start from statistics, and a rebuild does not wait for requests.
"""

from __future__ import annotations

from ledger import artifacts, folding, inventory, job_parts, jobs
from ledger.database import Transaction
from ledger.tables import JobPart
from unlearning.public_model import PublicModel
from unlearning.rows import QuantizedRows
from unlearning.statistics import Statistics
from workers import models, rows
from workers.deps import Deps
from workers.errors import PartFailed
from workers.progress import INTERVAL_US

DIRECT_SHARDS = 1024
"""Shards whose records one job sums by itself: some seconds of work."""
PART_SHARDS, MOST_PARTS = 512, 64
"""Shards of a part at least, and parts of a version at most: each leaves an object of the size of the statistics."""


def split(deps: Deps, claim: jobs.Claim, upto: int) -> bool:
    """Leave the sum of a model's first version to parts, if it is worth it."""
    assert claim.model_id is not None
    with deps.ledger.database.read() as tx:
        shards = folding.shards_added(tx, claim.model_id, upto)
    if len(shards) <= DIRECT_SHARDS:
        return False
    size = max(PART_SHARDS, -(-len(shards) // MOST_PARTS))
    shares = [job_parts.Share(claim.model_id, shards[start : start + size]) for start in range(0, len(shards), size)]
    with deps.ledger.database.begin() as tx:
        job_parts.split(tx, claim, jobs.SUM_PART, shares, upto=upto)
        deps.point("sum.splitting")
    deps.point("sum.split")
    return True


def run_part(deps: Deps, claim: jobs.Claim) -> None:
    """Sum the records of a range of shards. Raises CheckFailed, UnlearningError, LedgerError."""
    assert claim.model_id is not None
    ledger = deps.ledger
    with ledger.database.read() as tx:
        part = job_parts.of(tx, claim)
        wanted = [] if part is None else _wanted(tx, claim.model_id, part)
    if part is None:  # the job that it belonged to was given up
        with ledger.database.begin() as tx:
            jobs.finish(tx, claim)
        return
    public = models.load_public(deps, claim.model_id)
    statistics = _sum(deps, claim, public, wanted)
    random = ledger.database.random
    sealed = artifacts.seal_artifact(
        statistics.to_bytes(),
        salt=random(artifacts.SALT_SIZE),
        ring=ledger.ring,
        context=_context(claim.model_id),
        random=random,
    )
    name = inventory.write_pending(ledger.database, ledger.objects, claim.tenant_id, "sum", claim.owner, [sealed])
    deps.point("sum_part.written")
    with ledger.database.begin() as tx:
        job_parts.finish(tx, claim, name)
        deps.point("sum_part.ending")
    deps.point("sum_part.ended")
    job_parts.tell_parent(ledger.database, part.parent_id)


def _wanted(tx: Transaction, model_id: str, part: JobPart) -> list[folding.FeatureRows]:
    between = (part.first_shard, part.last_shard)
    assert part.upto is not None
    return folding.added(tx, model_id, None, part.upto, between=between)


def _sum(deps: Deps, claim: jobs.Claim, public: PublicModel, wanted: list[folding.FeatureRows]) -> Statistics:
    assert claim.model_id is not None
    nobody = QuantizedRows.empty(public.width, public.classes, per_output=public.plan.per_output)
    statistics = Statistics.zero(public.width, public.plan.columns)
    done, last_us = 0, deps.clock_us()
    for group in rows.groups(wanted):
        statistics = deps.fold(statistics, rows.read(deps.ledger, claim.model_id, public, group), nobody, public.plan)
        done += len(group)
        if deps.clock_us() - last_us >= INTERVAL_US:
            job_parts.report(deps.ledger.database, claim, done)
            last_us = deps.clock_us()
    return statistics


def parts_of(deps: Deps, claim: jobs.Claim) -> list[JobPart]:
    """Return the parts that have summed rows for the model's first version; none if it was not split.

    Raises PartFailed: one was given up. Then all are let go of, and retrying the job begins again.
    """
    with deps.ledger.database.read() as tx:
        parts = job_parts.sums(tx, claim)
    if any(part.object_name is None for part in parts):
        with deps.ledger.database.begin() as tx:
            errors = job_parts.collect(tx, claim)
        raise PartFailed(errors)
    return parts


def merged(deps: Deps, model_id: str, public: PublicModel, parts: list[JobPart]) -> Statistics:
    """Return the sum of what parts have summed. Raises OutOfRange, ObjectMissing, ObjectCorrupt, CorruptArtifact."""
    statistics = Statistics.zero(public.width, public.plan.columns)
    for part in parts:
        assert part.object_name is not None
        _, body = artifacts.open_artifact(deps.ledger, part.object_name, _context(model_id))
        statistics = statistics.merge(Statistics.from_bytes(body))
    return statistics


def _context(model_id: str) -> bytes:
    return b"sum:" + model_id.encode()
