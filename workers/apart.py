"""Telling changes that cannot be made from those that can, so that one of them fails alone.

A removal needs the features that it subtracts, an addition those that it adds, a correction both. If they are missing
or damaged, the job of the whole batch fails, however often it is tried. So after some attempts every shard is looked at
by itself; changes that cannot be read are deferred (ledger/deferrals.py), their requests fail visibly, and the job goes
on with the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ledger import changes, deferrals, folding, job_parts, jobs, requests, versions
from ledger.database import Transaction
from ledger.errors import ObjectCorrupt, ObjectMissing, RecordMissing
from ledger.folding import FeatureRows
from ledger.tables import Model
from ledger.webhooks import outbox
from unlearning.public_model import PublicModel
from workers import models, rows
from workers.deps import Deps
from workers.errors import CheckFailed, PartFailed

ALONE_AFTER = 3
"""Attempts after which what is missing counts as gone: before, another job may have been putting it elsewhere."""
DAMAGE = (ObjectMissing, ObjectCorrupt, RecordMissing)

Unreadable = Mapping[int, str]
"""Why records cannot be read, by their ids."""


def is_damage(problem: Exception) -> bool:
    """Whether an error says that something stored is missing or is not what was stored."""
    return isinstance(problem, DAMAGE) or (isinstance(problem, CheckFailed) and problem.check == "labels")


def is_due(claim: jobs.Claim, problem: Exception) -> bool:
    """Whether it is time to look at every change by itself. A part that was given up has had all its attempts."""
    if claim.kind != jobs.ADVANCE:
        return False
    return isinstance(problem, PartFailed) or (claim.attempts >= ALONE_AFTER and is_damage(problem))


def go_on_without(deps: Deps, claim: jobs.Claim, error: str) -> bool:
    """Defer the changes that this `advance` cannot read, fail their requests, and put the job back.

    Sums for a first version are let go of: they may hold what is deferred now, or what has been removed since and can
    be subtracted no more. Returns False if there is nothing to defer or to let go of: what cannot be read is something
    else, which every version needs.
    Raises LedgerError, UnlearningError.
    """
    assert claim.model_id is not None
    with deps.ledger.database.read() as tx:
        model = tx.session.get_one(Model, claim.model_id)
        after = None if versions.active(tx, model.id) is None else model.applied_seq
        newest = changes.current_sequence(tx, claim.tenant_id)
        shards = folding.added(tx, model.id, after, newest), folding.removed(tx, model.id, after, newest)
        summed = after is None and bool(job_parts.sums(tx, claim))
    public = models.load_public(deps, model.id)
    added, removed = (_unreadable(deps, model.id, public, found) for found in shards)
    if not added and not removed and not summed:
        return False
    with deps.ledger.database.begin() as tx:
        if added or removed:
            _defer(tx, claim, model.id, error, added, removed)
        if summed:
            job_parts.collect(tx, claim)
        jobs.put_back(tx, claim, not_before=tx.now)
    return True


def _defer(
    tx: Transaction, claim: jobs.Claim, model_id: str, error: str, added: Unreadable, removed: Unreadable
) -> None:
    """Defer the changes that these records belong to, and say why wherever somebody waits. Raises LeaseLost."""
    left_behind = jobs.leave_failed(tx, claim, error)  # first its row, then the counter: as whoever retries it
    changes.lock_sequence(tx, claim.tenant_id)
    why: dict[str, str] = {}
    for records, requests_of in ((removed, _removing), (added, deferrals.corrections_of)):
        for problem in sorted(set(records.values())):
            found = [record_id for record_id, its in records.items() if its == problem]
            why |= dict.fromkeys(requests_of(tx, model_id, found), problem)
    deferrals.defer(tx, model_id, sorted(why), deferrals.shards_of(tx, model_id, list(added)))
    for problem in sorted(set(why.values())):
        requests.fail_alone(tx, claim, [request_id for request_id, its in why.items() if its == problem], problem)
    if not why:  # else the requests tell of it
        outbox.job_failed(tx, claim.tenant_id, left_behind.id, left_behind.kind, model_id)


def _removing(tx: Transaction, _model_id: str, record_ids: Sequence[int]) -> list[str]:
    return deferrals.requests_of(tx, record_ids)


def _unreadable(deps: Deps, model_id: str, public: PublicModel, shards: Sequence[FeatureRows]) -> Unreadable:
    """Return the records whose features cannot be read: whole shards first, then one by one what is in a bad one."""
    found: dict[int, str] = {}
    for shard in shards:
        if _problem(deps, model_id, public, shard) is None:
            continue
        for record_id, label in shard.classes.items():
            problem = _problem(deps, model_id, public, FeatureRows(shard.object_name, {record_id: label}))
            if problem is not None:
                found[record_id] = problem
    return found


def _problem(deps: Deps, model_id: str, public: PublicModel, shard: FeatureRows) -> str | None:
    try:
        rows.read(deps.ledger, model_id, public, [shard])
    except (*DAMAGE, CheckFailed) as problem:
        return f"{type(problem).__name__}: {problem}"
    return None
