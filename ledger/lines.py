"""A model's generations: registering a successor, going back to an old configuration, letting the successor take over.

A successor is a model of its own beside the current one: it trains, ingests, follows every change and obeys every
forget request. Taking over is one transaction: from its commit on the line's id and name mean the successor, and the
old generation gets no lease any more. It is then destroyed like a deleted model.
"""

from __future__ import annotations

from dataclasses import replace

from ledger import catalog, deferrals, events, generations, jobs
from ledger.database import Transaction
from ledger.errors import ModelRetired, NotFound, SuccessorNotReady, SuccessorPending
from ledger.tables import Generation, Job, Model

MANUAL, WHEN_READY = "manual", "when_ready"
LONGEST_NAME = 200
FIXED_WIDTH = ("head", "pooled")
"""Feature maps whose width follows from the network, so that a configuration must not name it."""


def plan_of(tx: Transaction, model: Model) -> catalog.ModelPlan:
    """Return the configuration of a model, destroyed ones too."""
    return catalog.ModelPlan(
        name=model.name,
        core_cohort_id=model.core_cohort_id,
        user_cohort_ids=tuple(catalog.user_cohorts(tx, model.id)),
        evaluation_cohort_id=model.evaluation_cohort_id,
        architecture=model.architecture,
        feature_map=model.feature_map,
        width=None if model.feature_map in FIXED_WIDTH else model.width,
        alpha=model.alpha,
        mu=model.mu,
        residual_budget=model.residual_budget,
        capacity=model.capacity,
        epochs=model.epochs,
        seed=model.seed,
        mu_grid=None if model.mu_grid is None else tuple(model.mu_grid),
        bandwidth=model.bandwidth,
        leaky=bool(model.leaky),
        input_size=None if model.input_size is None else (model.input_size[0], model.input_size[1]),
        core_import_id=model.core_import_id,
        core_head=model.core_head,
        solver=model.solver,
        noise=model.noise,
        sigma=model.sigma,
        kappa=model.kappa,
        exposure_budget=model.exposure_budget,
    )


def register_successor(
    tx: Transaction, line_id: str, plan: catalog.ModelPlan, *, cut_over: str, restores: int | None = None
) -> tuple[Model, int]:
    """Add a generation beside the current one. Its user cohorts are the current one's, its name for now another.

    Returns the model and the number of the job that trains its core. Raises SuccessorPending, ModelRetired, NotFound,
    WrongCohortKind.
    """
    generations.lock_line(tx, line_id)
    now = generations.current(tx, line_id)
    if now.state in generations.GONE:
        raise ModelRetired(now.state)
    pending = generations.successor(tx, line_id)
    if pending is not None:
        raise SuccessorPending(pending[1].id)
    number = generations.all_of(tx, line_id)[-1][0].number + 1
    model_id = tx.new_id()
    named = replace(
        plan,
        name=beside(now.name, f"generation {number}, {model_id}"),
        user_cohort_ids=tuple(catalog.user_cohorts(tx, now.id)),
    )
    place = catalog.Place(line_id=line_id, number=number, cut_over=cut_over, restores=restores)
    return catalog.register_model(tx, now.tenant_id, named, model_id=model_id, place=place)


def roll_back(tx: Transaction, line_id: str, *, to: int, cut_over: str) -> tuple[Model, int]:
    """Register a successor with the configuration of generation `to`. It learns today's records; no old weight is used.

    Raises NotFound, SuccessorPending, ModelRetired.
    """
    for generation, model in generations.all_of(tx, line_id):
        if generation.number == to:
            return register_successor(tx, line_id, plan_of(tx, model), cut_over=cut_over, restores=to)
    raise NotFound("generation", str(to))


def beside(name: str, what: str) -> str:
    """Return a name for a generation that its line's name does not stand for; random ids in it keep it unique."""
    return f"{name[: LONGEST_NAME - len(what) - 3]} ({what})"


def cut_over(tx: Transaction, line_id: str) -> tuple[Model, Job]:
    """Let the successor answer under the line's id and name, and have the old generation destroyed.

    Returns the successor, and the job that destroys. Raises SuccessorNotReady: there is none, or it has not yet passed
    every change that the current generation has passed (somebody forgotten there might still be in it).
    """
    generations.lock_line(tx, line_id)
    old, found = generations.current(tx, line_id), generations.successor(tx, line_id)
    if found is None:
        raise SuccessorNotReady("the model has none")
    generation, new = found
    old, new = generations.require_alive(tx, old.id), generations.require_alive(tx, new.id)
    behind = why_behind(tx, old, new)
    if behind is not None:
        raise SuccessorNotReady(behind)
    generation_old = generations.of(tx, old.id)
    generation_old.is_current = False
    name, old.name = old.name, beside(old.name, f"generation {generation_old.number}, {old.id}")
    tx.session.flush()  # first the old one lets go of name and place: both are unique at every moment
    generation.is_current, generation.cut_over, new.name = True, None, name
    tx.session.flush()
    events.append(tx, new.tenant_id, "model.cut_over", line_id, old=old.id, new=new.id, generation=generation.number)
    return new, retire(tx, old)


def why_behind(tx: Transaction, old: Model, new: Model) -> str | None:
    """Say why `new` cannot take over from `old` yet, or return None: it can."""
    if new.state != "ready":
        return f"it is {new.state}"
    if new.applied_seq is None:
        return "it has no version yet"
    if old.applied_seq is not None and new.applied_seq < old.applied_seq:
        return "it has not yet folded in every change that the current generation has"
    passed_by_old = set(deferrals.beyond(tx, old.id, old.applied_seq or 0))
    if not set(deferrals.beyond(tx, new.id, new.applied_seq)) <= passed_by_old:
        return "it still holds records that the current generation does not: a request that it could not do has failed"
    lacked_by_old = set(deferrals.shards_beyond(tx, old.id, old.applied_seq or 0))
    if not set(deferrals.shards_beyond(tx, new.id, new.applied_seq)) <= lacked_by_old:
        return "it lacks records whose features cannot be read; a failed job says which"
    return None


def cut_over_if_due(tx: Transaction, model_id: str) -> None:
    """After a version of either generation: take over, if that was asked for and the successor is not behind."""
    line_id = generations.of(tx, model_id).line_id
    found = generations.successor(tx, line_id)
    if found is None or found[0].cut_over != WHEN_READY:
        return
    old, new = generations.current(tx, line_id), found[1]
    if old.state in generations.GONE:
        return
    if why_behind(tx, old, new) is None:
        cut_over(tx, line_id)
    elif new.state == "ready" and model_id == old.id:
        jobs.add_advance(tx, new.tenant_id, new.id)  # the current one went ahead: let the successor follow


def retire(tx: Transaction, model: Model) -> Job:
    """Let a model answer no more (its leases are not renewed) and have it destroyed. Cannot be taken back.

    Forget requests that wait for it go on waiting until it is destroyed: until then it may know whom they concern.
    """
    model.state = "retiring"
    jobs.give_up_ready(tx, model.id, "ModelRetired: the model is being destroyed")
    tx.session.flush()
    events.append(tx, model.tenant_id, "model.retired", model.id)
    return jobs.add_destroy(tx, model.tenant_id, model.id)


def delete(tx: Transaction, tenant_id: str, model_id: str) -> tuple[Model, Job]:
    """Retire a model; by its line's id the whole line, with a successor in the making; by another id that one alone.

    Returns the model and the job that destroys it. Raises NotFound, ModelRetired.
    """
    model = generations.resolve(tx, tenant_id, model_id)
    place: Generation = generations.of(tx, model.id)
    generations.lock_line(tx, place.line_id)
    model = generations.resolve(tx, tenant_id, model_id)
    generations.require_alive(tx, model.id)
    pending = generations.successor(tx, place.line_id)
    if generations.of(tx, model.id).is_current and pending is not None:
        retire(tx, generations.require_alive(tx, pending[1].id))
    return model, retire(tx, model)
