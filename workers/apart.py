"""Telling requests that cannot be done from those that can, so that one of them fails alone.

A removal needs the features that it subtracts. If they are missing or damaged, the job of the whole batch fails,
however often it is tried. So after some attempts every removal is looked at by itself; those that cannot be read are
deferred (ledger/deferrals.py) and fail visibly, and the job goes on with the others.
"""

from __future__ import annotations

from sqlalchemy import select

from ledger import changes, deferrals, folding, jobs, requests, versions
from ledger.errors import ObjectCorrupt, ObjectMissing, RecordMissing
from ledger.folding import FeatureRows
from ledger.tables import ForgetRequest, Model
from unlearning.public_model import PublicModel
from workers import models, rows
from workers.deps import Deps
from workers.errors import CheckFailed

ALONE_AFTER = 3
"""Attempts after which what is missing counts as gone: before, another job may have been putting it elsewhere."""
DAMAGE = (ObjectMissing, ObjectCorrupt, RecordMissing)


def is_damage(problem: Exception) -> bool:
    """Whether an error says that something stored is missing or is not what was stored."""
    return isinstance(problem, DAMAGE) or (isinstance(problem, CheckFailed) and problem.check == "labels")


def go_on_without(deps: Deps, claim: jobs.Claim, error: str) -> bool:
    """Defer the removals that this `advance` cannot read, fail their requests, and put the job back.

    Returns False if there are none.
    A correction is never deferred: a version would hold the old records beside the new ones.
    Raises LedgerError, UnlearningError, CheckFailed.
    """
    assert claim.model_id is not None
    database = deps.ledger.database
    with database.read() as tx:
        model = tx.session.get_one(Model, claim.model_id)
        if versions.active(tx, model.id) is None:
            return False
        newest = changes.current_sequence(tx, claim.tenant_id)
        removed = folding.removed(tx, model.id, model.applied_seq, newest)
    public = models.load_public(deps, model.id)
    damaged = [record_id for shard in removed for record_id in _unreadable(deps, model.id, public, shard)]
    with database.begin() as tx:
        jobs.check_fence(tx, claim)
        request_ids = deferrals.requests_of(tx, damaged)
        kinds = select(ForgetRequest.selector_kind).where(ForgetRequest.id.in_(request_ids))
        if not request_ids or requests.CORRECTION in tx.session.execute(kinds).scalars().all():
            return False
        deferrals.defer(tx, model.id, request_ids)
        requests.fail_alone(tx, claim, request_ids, error)
        jobs.put_back(tx, claim, not_before=tx.now)
    return True


def _unreadable(deps: Deps, model_id: str, public: PublicModel, shard: FeatureRows) -> list[int]:
    """Return the records of a shard whose features cannot be read."""
    if _reads(deps, model_id, public, shard):
        return []
    alone = [FeatureRows(shard.object_name, {record_id: label}) for record_id, label in shard.classes.items()]
    return [record_id for one in alone for record_id in one.classes if not _reads(deps, model_id, public, one)]


def _reads(deps: Deps, model_id: str, public: PublicModel, shard: FeatureRows) -> bool:
    try:
        rows.read(deps.ledger, model_id, public, [shard])
    except (*DAMAGE, CheckFailed):
        return False
    return True
