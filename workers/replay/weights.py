"""The weights: computed anew from the statistics, and compared with the stored ones as the model's solver allows."""

from __future__ import annotations

import numpy as np
import torch
from sqlalchemy import func, select

from ledger.database import Transaction
from ledger.tables import Model, ModelVersion
from unlearning.linear.statistics_problem import from_statistics
from unlearning.public_model import PublicModel
from unlearning.residual import check_residual
from unlearning.statistics import Statistics
from workers import bounding, checks, noising, ridge
from workers.deps import Deps
from workers.solving import EXACT, Weights


def ridge_problems(model: Model, version: ModelVersion, mu: float) -> list[str]:
    """Say whether the ridge is another than the one that the retained statistics choose."""
    if model.mu is not None:
        return []
    noted = (version.measured or {}).get("mu")
    return [] if noted == mu else ["the ridge that the version was solved with is not the one that is chosen now"]


def compare(
    deps: Deps, model: Model, public: PublicModel, statistics: Statistics, stored: Weights, mu: float
) -> tuple[list[str], str]:
    """Return what is wrong with the stored weights, and how far they were proved right.

    Exact: the same bytes, or (another processor, other threads) a gradient within the budget. Krylov and descent
    without noise: a gradient within the budget. With noise, that draw is kept nowhere: what lies between the stored
    weights and the minimiser must be of the size that the law of the noise has, on its grid. Weights of another version
    are found out by their commitment; this finds those that were never right.
    Raises UnlearningError, NoRidge.
    """
    solved = ridge.solve(deps, model, public, statistics, mu).weights
    if model.noise is not None and statistics.count:
        return _with_noise(model, public, statistics, stored, solved)
    if model.solver == EXACT and np.array_equal(stored, solved):
        return [], "the same bytes"
    report = check_residual(statistics, public.plan, stored, mu=mu, residual_budget=ridge.budget(model, public, mu))
    if not report.passed:
        return ["the stored weights do not minimise the loss over the retained records"], ""
    return [], "a gradient within the certified budget"


def _with_noise(
    model: Model, public: PublicModel, statistics: Statistics, stored: Weights, solved: Weights
) -> tuple[list[str], str]:
    assert model.mu is not None
    if stored.shape != solved.shape:
        return ["the stored weights have another shape than the model's"], ""
    if not np.array_equal(noising.grid(model, public).release(torch.from_numpy(stored)).numpy(), stored):
        return ["the stored weights do not lie on the grid that weights are published on"], ""
    law = noising.covariance(model)
    hessian = from_statistics(statistics, public.plan, model.mu).hessian()
    noise = torch.from_numpy(noising.difference(stored, solved))
    if not noising.plausible(noising.energy(law, hessian, noise), noise.numel()):
        return ["the stored weights are not the retained minimiser with noise of the certified size"], ""
    return [], "the retained minimiser with noise of the certified size; the draw itself is kept nowhere"


def stated_problems(tx: Transaction, model: Model, public: PublicModel, version: ModelVersion) -> list[str]:
    """Say where checks and bounds of a version are not those that follow from its model and its place in the chain."""
    expected = checks.stated(model, public)
    if model.noise is not None:
        earlier = select(func.count()).select_from(ModelVersion)
        earlier = earlier.where(ModelVersion.model_id == model.id, ModelVersion.number <= version.number)
        expected |= {"bound": bounding.fields(model, tx.session.execute(earlier).scalar_one())}
    names = sorted(expected.keys() | version.checks.keys())
    return [
        f"{name} is stated otherwise than it follows"
        for name in names
        if expected.get(name) != version.checks.get(name)
    ]
