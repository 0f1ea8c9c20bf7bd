"""The job `rebuild`: sum every stored record anew and compare with the active version's statistics."""

from __future__ import annotations

from ledger import events, folding, jobs, versions
from ledger.tables import Model
from unlearning.rows import QuantizedRows
from unlearning.statistics import Statistics
from unlearning.weights import weights_to_bytes
from workers import models, ridge, rows
from workers.deps import Deps
from workers.progress import Progress

NOT_COMPARED = (
    "Not compared: they were published with noise that was drawn once and is not kept, so a rebuild has others. "
    "That the version was solved for its statistics was checked before it was published."
)


def run(deps: Deps, claim: jobs.Claim) -> None:
    """Rebuild and compare; the job's result says whether the bytes are equal, and how long it took.

    Raises UnlearningError, LedgerError, CheckFailed.
    """
    assert claim.model_id is not None
    started = deps.clock_us()
    with deps.ledger.database.read() as tx:
        model = tx.session.get_one(Model, claim.model_id)
        active = versions.active(tx, model.id)
        held = folding.held(tx, model.id, model.applied_seq or 0)
    public = models.load_public(deps, model.id)
    nobody = QuantizedRows.empty(public.width, public.classes, per_output=public.plan.per_output)
    statistics = Statistics.zero(public.width, public.plan.columns)
    progress = Progress(deps, claim, note="summing stored records")
    done = 0
    for group in rows.groups(held):
        statistics = deps.fold(statistics, rows.read(deps.ledger, model.id, public, group), nobody, public.plan)
        done += len(group)
        progress(done / len(held))
    mu = ridge.choose(deps.choose_mu, model, public, statistics)
    solution = ridge.solve(deps, model, public, statistics, mu)
    weights_to_bytes(solution.weights)
    seconds = (deps.clock_us() - started) / 1e6
    equal = active is not None and models.load_statistics(deps.ledger, active).to_bytes() == statistics.to_bytes()
    with deps.ledger.database.begin() as tx:
        facts: dict[str, object] = {"equal": equal, "records": statistics.count, "seconds": round(seconds, 3)}
        if model.noise is not None:
            facts["weights"] = NOT_COMPARED
        events.append(tx, claim.tenant_id, "model.rebuilt", model.id, equal=equal)
        jobs.finish(tx, claim, facts)
