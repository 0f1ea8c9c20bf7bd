"""The job `purge`: destroy what published removals left behind, prove that it is gone, and certify.

In this order: nobody can be answered from an old version; old weights and statistics are deleted; shards are rewritten
without the forgotten records; all of it is read back; the database's log is cut; then, in one transaction, the
certificate, the event and `completed`. Every step starts from what the ledger says, so a crash repeats it harmlessly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ledger import (
    certificates,
    inventory,
    jobs,
    leases,
    lineage,
    purging,
    requests,
    shard_records,
    signing_keys,
    versions,
)
from ledger.database import Transaction
from ledger.errors import LineageBroken, ObjectMissing
from ledger.purging import DoomedShard
from ledger.shards import ShardReader, without
from ledger.tables import ForgetRequest, ModelVersion
from ledger.uploads import feature_context, record_context
from workers import apart, digests
from workers.deps import Deps
from workers.errors import CheckFailed, StillServed
from workers.waiting import POLL_S, WAIT_US, cut_log, wait_for_writers

SHARDS_AT_ONCE = 64  # rewritten together; what they hold is in memory at once


def run(deps: Deps, claim: jobs.Claim) -> None:
    """Purge everything that is due for the tenant and complete its requests.

    Requests with records in shards that cannot be read fail by themselves.

    Raises StillServed, StillWritten (the job is repeated), CheckFailed, LeaseLost, LineageBroken (the others are
    completed, and what this one removes is erased), LedgerError.
    """
    database = deps.ledger.database
    requests.resolve_all(database, claim.tenant_id)  # requests that concern no model come here directly
    with database.begin() as tx:
        left_undone = _left_undone(tx, claim.tenant_id)
        request_ids = purging.begin(tx, claim)
        inventory.doom_abandoned(tx, claim.tenant_id)
        old = list(versions.superseded(tx, claim.tenant_id))
        doomed = inventory.doomed(tx, claim.tenant_id)
        covering = purging.covering_versions(tx, request_ids)
    deps.point("purge.begun")
    unserved_at = _wait_until_unserved(deps, old, covering)
    deps.point("purge.unserved")
    inventory.delete_doomed(database, deps.ledger.objects, claim.tenant_id)
    _destroy(deps, claim, old)
    deps.point("purge.versions_destroyed")
    rewritten, damaged = _rewrite_shards(deps, claim, request_ids, left_undone)
    with database.read() as tx:
        failed = purging.concerned(tx, request_ids, damaged) if damaged else []
    request_ids = [request_id for request_id in request_ids if request_id not in failed]
    late = wait_for_writers(deps, claim.tenant_id)
    inventory.delete_doomed(database, deps.ledger.objects, claim.tenant_id)
    deps.point("purge.objects_deleted")
    _verify_gone(deps, request_ids, rewritten, [*doomed, *late])
    cut_log(deps)
    deps.point("purge.verified")
    digests.complete(deps, request_ids)
    erased_at = deps.clock_us()
    with database.begin() as tx:
        problem = _certify(deps, tx, claim, request_ids, erased_at=erased_at, unserved_at=unserved_at)
        if failed:
            requests.fail_alone(tx, claim, failed, next(iter(damaged.values())))
        if problem is None:
            jobs.finish(tx, claim)
        deps.point("purge.completing")
    deps.point("purge.completed")
    if problem is not None:
        raise problem


def _certify(
    deps: Deps, tx: Transaction, claim: jobs.Claim, request_ids: list[str], *, erased_at: int, unserved_at: int
) -> LineageBroken | None:
    """Complete the requests, each with its certificate, except those that rest on something that is not public.

    These stay as they are and show why. The problem is returned unless all of them showed it before: one failed job is
    enough to be seen and retried, and other people's requests must not fail with it.
    """
    refused: list[ForgetRequest] = []
    flaws: set[str] = set()
    signer = signing_keys.signer(tx, deps.ledger.ring)
    for request_id in purging.can_complete(tx, request_ids):
        request = tx.session.get_one(ForgetRequest, request_id)
        request.unserved_at, request.erased_at = unserved_at, erased_at
        if found := lineage.flaws(tx, request):
            flaws |= set(found)
            refused.append(request)
            continue
        statement = certificates.statement(
            tx, request, erased_at=erased_at, unserved_at=unserved_at, backup_days=deps.backup_days, code=deps.code
        )
        envelope = certificates.sign(statement, signer)
        facts = {"removed": True, "solved": True, "gone": True, "unserved": True}
        purging.complete(tx, claim, request, envelope, facts)
    problem = LineageBroken(sorted(flaws))
    return problem if refused and purging.refuse(tx, claim, refused, problem) else None


def _wait_until_unserved(deps: Deps, old: list[ModelVersion], covering: list[ModelVersion]) -> int:
    """Return when no API process could answer from a version older than the covering ones. Raises StillServed."""
    needed: dict[str, int] = {}
    for version in covering:
        needed[version.model_id] = max(needed.get(version.model_id, 0), version.number)
    for version in old:
        needed[version.model_id] = max(needed.get(version.model_id, 0), version.number + 1)
    give_up = deps.clock_us() + WAIT_US
    while True:
        with deps.ledger.database.read() as tx:
            left = sum(
                leases.stragglers(tx, model_id, number, clock_skew_us=deps.clock_skew_us)
                for model_id, number in needed.items()
            )
            now = tx.now
        if not left:
            return now
        if now > give_up:
            raise StillServed(left)
        deps.wait_s(POLL_S)


def _destroy(deps: Deps, claim: jobs.Claim, old: list[ModelVersion]) -> None:
    if not old:
        return
    for version in old:
        for name in (version.weights_object, version.statistics_object):
            if name is not None and deps.ledger.objects.exists(name):
                raise CheckFailed("gone", "an object of a superseded version is still there after it was deleted")
    with deps.ledger.database.begin() as tx:
        jobs.check_fence(tx, claim)
        for version in old:
            versions.mark_destroyed(tx, tx.session.get_one(ModelVersion, version.id))
        leases.drop_expired(tx, clock_skew_us=deps.clock_skew_us)


@dataclass(frozen=True, slots=True)
class Rewritten:
    """What to read back of a shard: the objects that must be gone, and those that must not hold these records."""

    gone: tuple[str, ...]
    contexts: Mapping[str, bytes]  # object name -> what its encryption is bound to
    record_ids: frozenset[int]


def _left_undone(tx: Transaction, tenant_id: str) -> frozenset[str]:
    """Return the shards that an earlier attempt had to rewrite and did not: to rewrite one of them is progress."""
    begun = [request.id for request in purging.due(tx, tenant_id) if request.state == "purging"]
    return frozenset(shard.shard_id for shard in purging.shards(tx, begun))


def _rewrite_shards(
    deps: Deps, claim: jobs.Claim, request_ids: list[str], left_undone: frozenset[str]
) -> tuple[list[Rewritten], dict[str, str]]:
    """Rewrite every shard that holds forgotten records. Returns what to read back, and shards that cannot be read.

    These are told apart only when the job has failed over them some times: others need not wait for them.
    """
    rewritten: list[Rewritten] = []
    damaged: dict[str, str] = {}
    while True:
        with deps.ledger.database.read() as tx:
            todo = [shard for shard in purging.shards(tx, request_ids) if shard.shard_id not in damaged]
        if not todo:
            return rewritten, damaged
        for start in range(0, len(todo), SHARDS_AT_ONCE):
            together = todo[start : start + SHARDS_AT_ONCE]
            try:
                rewritten += _rewrite(deps, claim, together, left_undone)
            except apart.DAMAGE:
                if claim.attempts < apart.ALONE_AFTER:
                    raise
                done, broken = _rewrite_each(deps, claim, together, left_undone)
                rewritten += done
                damaged |= broken


def _rewrite_each(
    deps: Deps, claim: jobs.Claim, shards: list[DoomedShard], left_undone: frozenset[str]
) -> tuple[list[Rewritten], dict[str, str]]:
    """Rewrite shards one by one. Returns what to read back, and why others cannot be read, by their ids."""
    rewritten: list[Rewritten] = []
    damaged: dict[str, str] = {}
    for shard in shards:
        try:
            rewritten += _rewrite(deps, claim, [shard], left_undone)
        except apart.DAMAGE as problem:
            damaged[shard.shard_id] = f"{type(problem).__name__}: {problem}"
    return rewritten, damaged


def _rewrite(deps: Deps, claim: jobs.Claim, shards: list[DoomedShard], left_undone: frozenset[str]) -> list[Rewritten]:
    """Rewrite some shards: all their objects are written side by side, then all are put in place in one transaction."""
    objects = [(kind, name, context, shard) for shard in shards for kind, name, context in _objects(shard)]
    with deps.ledger.database.read() as tx:
        known = shard_records.known(tx, [shard.shard_id for shard in shards])
    rests = {
        name: _only(deps, name, context, known[shard.shard_id] - set(shard.record_ids))
        for _, name, context, shard in objects
    }
    successors: dict[str, str | None] = dict.fromkeys(rests)
    for kind in ("records", "features"):
        old = [name for its_kind, name, _, _ in objects if its_kind == kind and rests[name] is not None]
        blobs = [rest for name in old if (rest := rests[name]) is not None]
        ledger = deps.ledger
        new = inventory.write_pending_each(ledger.database, ledger.objects, claim.tenant_id, kind, claim.owner, blobs)
        successors |= dict(zip(old, new, strict=True))
    deps.point("purge.shard_written")
    with deps.ledger.database.begin() as tx:
        replaced = purging.replace(tx, claim, shards, successors)
        if any(shard.shard_id in left_undone for shard in replaced):
            jobs.progressed(tx, claim)
    deps.point("purge.shard_replaced")
    return [_to_read_back(shard, successors) for shard in replaced]


def _objects(shard: DoomedShard) -> list[tuple[str, str, bytes]]:
    """Return kind, name and encryption context of each object that holds records of the shard."""
    features = [("features", name, feature_context(model_id)) for model_id, name in shard.features.items()]
    return [("records", shard.object_name, record_context(shard.cohort_id)), *features]


def _to_read_back(shard: DoomedShard, successors: Mapping[str, str | None]) -> Rewritten:
    contexts = {successors[name]: context for _, name, context in _objects(shard)}
    return Rewritten(
        gone=(shard.object_name, *shard.features.values()),
        contexts={name: context for name, context in contexts.items() if name is not None},
        record_ids=frozenset(shard.record_ids),
    )


def _only(deps: Deps, name: str, context: bytes, kept: set[int]) -> bytes | None:
    """Return an object's bytes with these records only, None when nothing is left.

    Records that the ledger does not know go too: they would be in an older object that was put in this one's place.
    A damaged record is copied as it is, so that it keeps nobody from being forgotten.
    """
    reader = ShardReader(deps.ledger.objects, name, ring=deps.ledger.ring, context=context)
    return without(reader, set(reader.ids()) - kept)


def _verify_gone(deps: Deps, request_ids: list[str], rewritten: list[Rewritten], doomed: list[str]) -> None:
    """Read back: no row, no old object, no rewritten shard knows a forgotten record. Raises CheckFailed."""
    ledger = deps.ledger
    for shard in rewritten:
        for name, context in shard.contexts.items():
            try:
                ids = set(ShardReader(ledger.objects, name, ring=ledger.ring, context=context).ids())
            except ObjectMissing:
                continue  # rewritten again meanwhile
            if ids & shard.record_ids:
                raise CheckFailed("gone", "a rewritten shard still holds a forgotten record")
    with ledger.database.read() as tx:
        if purging.records_left(tx, request_ids):
            raise CheckFailed("gone", "the ledger still has rows of forgotten records")
    # Only what this run had to delete: other tenants, and versions published since, have doomed objects of their own.
    for name in [*doomed, *(name for shard in rewritten for name in shard.gone)]:
        if ledger.objects.exists(name):
            raise CheckFailed("gone", "a doomed object is still in the store")
