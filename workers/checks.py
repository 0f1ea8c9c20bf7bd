"""What a new version must pass before it is published: the certificate's first two facts.

Everything is read back from the stores and asked of the ledger anew; nothing is taken from the memory of the code that
made the version, but for weights before their noise, which are stored nowhere. *Removed*: the statistics moved by
exactly the records that the ledger says. *Solved*: the weights are the minimiser for these statistics, float error
included, at the ridge that these statistics choose; with noise, the weights before it are that near that kappa holds,
and the stored ones are those with noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ledger import artifacts, folding
from ledger.tables import Model, ModelVersion
from unlearning.gcv import choose_mu
from unlearning.public_model import PublicModel
from unlearning.residual import check_residual
from unlearning.statistics import Statistics
from unlearning.transition import check_transition
from unlearning.weights import weights_from_bytes
from workers import models, noising, ridge, rows
from workers.deps import Deps
from workers.errors import CheckFailed
from workers.solving import Weights


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A version that has been written but not published: object names, commitments, the ridge that it was solved with,
    and the sequence that it folds up to. In memory only: `solved`, the weights before noise, and `weights`, with it.
    """

    statistics_object: str
    statistics_commitment: str
    weights_object: str
    weights_commitment: str
    mu: float
    upto: int
    solved: Weights
    weights: Weights


@dataclass(frozen=True, slots=True, eq=False)
class Checked:
    """Statistics as read back, and what the weights tell at most, in nats (None without noise); never published."""

    statistics: Statistics
    nats: float | None


def check(deps: Deps, model: Model, public: PublicModel, before: ModelVersion | None, new: Candidate) -> Checked:
    """Check a candidate against the ledger. Raises CheckFailed, LedgerError."""
    ledger = deps.ledger
    with ledger.database.read() as tx:
        started_from = None if before is None else model.applied_seq
        added = folding.added(tx, model.id, started_from, new.upto)
        removed = folding.removed(tx, model.id, started_from, new.upto)
    _, body = artifacts.open_artifact(
        ledger, new.statistics_object, artifacts.statistics_context(model.id), committed=new.statistics_commitment
    )
    after = Statistics.from_bytes(body)
    base = (
        Statistics.zero(public.width, public.plan.columns) if before is None else models.load_statistics(ledger, before)
    )
    report = check_transition(
        base,
        after,
        rows.read_groups(ledger, model.id, public, removed),
        rows.read_groups(ledger, model.id, public, added),
        public.plan,
        ledger.database.random,
    )
    if not report.passed:
        raise CheckFailed("transition", f"the statistics did not move by the ledger's changes: {report.failures}")
    return Checked(after, _check_solved(deps, model, public, after, new))


def _check_solved(deps: Deps, model: Model, public: PublicModel, after: Statistics, new: Candidate) -> float | None:
    if ridge.choose(choose_mu, model, public, after) != new.mu:
        raise CheckFailed("mu", "the ridge is not the one that the retained statistics choose")
    _, body = artifacts.open_artifact(
        deps.ledger, new.weights_object, artifacts.weights_context(model.id), committed=new.weights_commitment
    )
    stored = weights_from_bytes(body)
    noisy = model.noise is not None and after.count > 0
    if noisy and not np.array_equal(stored, new.weights):
        raise CheckFailed("released", "the stored weights are not the ones that were given noise")
    allowed = ridge.budget(model, public, new.mu)
    solved = new.solved if noisy else stored
    report = check_residual(after, public.plan, solved, mu=new.mu, residual_budget=allowed)
    if not report.passed:
        numbers = f"the gradient is up to {report.residual_bound:.3e}, the budget {report.budget:.3e}"
        raise CheckFailed("residual", "the gradient exceeds its budget" if model.mu is None else numbers)
    if not noisy:
        return None
    return noising.check(model, public, after, report.residual_bound, noising.difference(stored, solved))


def stated(model: Model, public: PublicModel) -> dict[str, object]:
    """Return what is published about the checks: no number that depends on a mu that was chosen from records."""
    passed: dict[str, object] = {"transition": "pass", "residual": "pass"}
    if model.mu is None:
        passed["mu"] = "pass"
    if model.noise is not None:
        passed |= {"nats": "pass", "noise": "pass"}
    if model.exposure_budget is not None:
        passed["exposure"] = "pass"
    fixed = model.residual_budget if model.mu is None else ridge.budget(model, public, model.mu)
    passed["residual_budget"] = "derived from mu" if fixed is None else f"{fixed:.6e}"
    return passed
