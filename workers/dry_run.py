"""The job `dry_run`: what a forget request would do, measured without doing it.

It reads what `advance` would read and computes what `advance` would compute, with the same functions, so that the real
request gives the same weights if nothing else happens in between (with noise: weights of the same law). Nothing is
written but the answer.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ledger import dry_runs, jobs
from ledger.dry_runs import Affected
from ledger.moments import rfc3339
from unlearning.errors import ProblemRefused
from unlearning.linear.from_rows import features_of
from unlearning.prediction import probabilities
from unlearning.public_model import PublicModel
from unlearning.rows import QuantizedRows
from unlearning.statistics import Statistics
from workers import exposing, models, noising, ridge, rows
from workers.deps import Deps
from workers.errors import NoRidge, Outdated
from workers.progress import Progress
from workers.solving import Weights

Measured = dict[str, Any]


def run(deps: Deps, claim: jobs.Claim) -> None:
    """Look up what the request would select, measure every model with and without it, keep the answer for an hour.

    Raises Outdated (the job is repeated), LeaseLost: moot, or taken over; CheckFailed, UnlearningError, LedgerError.
    """
    database = deps.ledger.database
    with database.read() as tx:
        found = dry_runs.find(tx, claim.job_id)
    deps.point("dry_run.found")
    result = None if found is None else _answer(deps, claim, found)
    deps.point("dry_run.measured")
    with database.begin() as tx:
        if not dry_runs.finish(tx, claim, found, result):
            raise Outdated


def _answer(deps: Deps, claim: jobs.Claim, found: dry_runs.Found) -> Measured:
    progress = Progress(deps, claim, note="measuring models without the records")
    measured = []
    for done, one in enumerate(found.models):
        progress(done / len(found.models))
        measured.append(_measure(deps, one))
    return {
        "outcome": found.outcome,
        "records": found.records,
        "held": found.held,
        "in_core": found.in_core,
        "due_at": rfc3339(found.due_at),
        "models": measured,
    }


def _measure(deps: Deps, one: Affected) -> Measured:
    """Return what the removal does to one model: on its evaluation cohort, and in seconds."""
    public = models.load_public(deps, one.model.id)
    before = models.load_weights(deps.ledger, one.version)
    statistics = models.load_statistics(deps.ledger, one.version)
    removed = rows.read_groups(deps.ledger, one.model.id, public, one.rows)
    exposed, note = exposing.exposure(one.model, public, statistics, removed)
    started = deps.clock_us()
    after, problem = _weights_without(deps, one, public, statistics) if one.rows else (before, None)
    seconds = (deps.clock_us() - started) / 1e6
    evaluation = models.load_evaluation(deps.ledger, one.model, public)
    facts: Measured = {
        "model": one.model.id,
        "version": one.version.number,
        "records": sum(len(shard.classes) for shard in one.rows),
        "evaluated": 0 if evaluation is None else evaluation.count,
        "exposure": exposed,
        "exposure_note": note,
        "seconds": round(seconds, 3),
        "problem": problem,
    }
    return facts | _compare(public, evaluation, before, after)


def _weights_without(
    deps: Deps, one: Affected, public: PublicModel, statistics: Statistics
) -> tuple[Weights | None, str | None]:
    """Return the weights that could be published, or None and why there are none. Raises CheckFailed, LedgerError.

    The exact solver stands in for krylov and sgd, which end at the same minimiser as far as their budget tells. Noise
    is drawn anew, as it will be: what is measured never comes from weights without it.
    """
    for found in rows.read_groups(deps.ledger, one.model.id, public, one.rows):
        statistics = deps.fold(statistics, public.no_rows(), found, public.plan)
    try:
        mu = ridge.choose(deps.choose_mu, one.model, public, statistics)
        solved = ridge.solve(deps, one.model, public, statistics, mu).weights
    except (ProblemRefused, NoRidge) as refused:
        return None, str(refused)
    return noising.published(deps, one.model, public, statistics, solved), None


def _compare(public: PublicModel, evaluation: QuantizedRows | None, before: Weights, after: Weights | None) -> Measured:
    """Return accuracies and how far predictions move; nulls where there is nothing to measure on or with."""
    facts: Measured = dict.fromkeys(
        ("accuracy_before", "accuracy_after", "largest_change", "mean_change", "labels_flipped")
    )
    if evaluation is None or not evaluation.count:
        return facts
    old = _outputs(public, evaluation, before)
    facts["accuracy_before"] = float(np.mean(old.argmax(axis=1) == evaluation.labels))
    if after is None:
        return facts
    new = _outputs(public, evaluation, after)
    moved = np.abs(probabilities(new) - probabilities(old))
    return facts | {
        "accuracy_after": float(np.mean(new.argmax(axis=1) == evaluation.labels)),
        "largest_change": float(moved.max()),
        "mean_change": float(moved.mean()),
        "labels_flipped": int(np.count_nonzero(new.argmax(axis=1) != old.argmax(axis=1))),
    }


def _outputs(public: PublicModel, evaluation: QuantizedRows, weights: Weights) -> Weights:
    user_part: Weights = features_of(evaluation, public.plan).apply(torch.from_numpy(weights)).numpy()
    return public.plan.core_values(evaluation.core_output) + user_part
