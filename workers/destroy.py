"""The job `destroy`: destroy everything made for a retired model, prove that it is gone, and certify.

In this order: nobody answers from it and no job works on it; its objects are doomed and the rows of its features
deleted; the objects are deleted; all of it is read back; the database's log is cut; then, in one transaction, the
certificate, the event and `destroyed`. Every step starts from what the ledger says, so a crash repeats it harmlessly.
"""

from __future__ import annotations

from ledger import certificates, destruction, destruction_certificates, inventory, jobs, signing_keys
from ledger.destruction import Condemned
from ledger.tables import Model
from workers.deps import Deps
from workers.errors import CheckFailed, StillServed, StillWorked
from workers.waiting import POLL_S, WAIT_US, cut_log, wait_for_writers


def run(deps: Deps, claim: jobs.Claim) -> None:
    """Destroy the claim's model. The records of its cohorts stay.

    Raises StillServed, StillWorked, StillWritten (the job is repeated), CheckFailed, LeaseLost, LedgerError.
    """
    database = deps.ledger.database
    with database.begin() as tx:
        condemned = destruction.begin(tx, claim)
        if condemned is None:
            jobs.finish(tx, claim)
            return
    deps.point("destroy.begun")
    unserved_at = _wait_until_unused(deps, condemned)
    deps.point("destroy.unserved")
    with database.begin() as tx:
        destruction.let_go(tx, claim, condemned)
        doomed = inventory.doomed(tx, claim.tenant_id)
    deps.point("destroy.let_go")
    late = wait_for_writers(deps, claim.tenant_id)
    inventory.delete_doomed(database, deps.ledger.objects, claim.tenant_id)
    deps.point("destroy.objects_deleted")
    _verify_gone(deps, condemned, [*condemned.objects, *doomed, *late])
    cut_log(deps)
    deps.point("destroy.verified")
    destroyed_at = deps.clock_us()
    with database.begin() as tx:
        name = tx.session.get_one(Model, condemned.model_id).name
        model = destruction.complete(tx, claim, condemned)
        stated = destruction_certificates.statement(
            tx, model, name=name, destroyed_at=destroyed_at, unserved_at=unserved_at, backup_days=deps.backup_days
        )
        destruction.add_certificate(tx, model, certificates.sign(stated, signing_keys.signer(tx, deps.ledger.ring)))
        jobs.finish(tx, claim, {"destroyed": True})
        deps.point("destroy.completing")
    deps.point("destroy.completed")


def _wait_until_unused(deps: Deps, condemned: Condemned) -> int:
    """Return when no API process could answer from the model and no job worked on it. Raises StillServed, StillWorked.

    Both only become fewer: a retired model gets no lease, and none of its jobs is begun.
    """
    give_up = deps.clock_us() + WAIT_US
    while True:
        with deps.ledger.database.read() as tx:
            answering, working = destruction.in_use(tx, condemned.model_id, clock_skew_us=deps.clock_skew_us)
            now = tx.now
        if not answering and not working:
            return now
        if now > give_up:
            raise StillServed(answering) if answering else StillWorked(working)
        deps.wait_s(POLL_S)


def _verify_gone(deps: Deps, condemned: Condemned, names: list[str]) -> None:
    """Read back: no object, no row of features. Raises CheckFailed."""
    if any(deps.ledger.objects.exists(name) for name in names):
        raise CheckFailed("gone", "an object of a retired model is still in the store after it was deleted")
    with deps.ledger.database.read() as tx:
        if destruction.rows_left(tx, condemned.model_id):
            raise CheckFailed("gone", "the ledger still has rows of a retired model's features")
