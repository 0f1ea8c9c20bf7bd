"""A version's ridge mu: the model's fixed one, or the one that the version's own statistics choose.

A chosen mu is a function of the retained records, as secret as the weights. It is kept in the version's `measured`,
which dies with the version, and is named in no event, certificate or error.
"""

from __future__ import annotations

from ledger.tables import Model
from unlearning.errors import ProblemRefused
from unlearning.exact_solver import ExactSolution
from unlearning.public_model import PublicModel
from unlearning.residual import default_residual_budget
from unlearning.statistics import Statistics
from workers.deps import ChooseMu, Deps
from workers.errors import NoRidge


def choose(choose_mu: ChooseMu, model: Model, public: PublicModel, statistics: Statistics) -> float:
    """Return mu for these statistics. Raises UnlearningError."""
    if model.mu is not None:
        return model.mu
    assert model.mu_grid is not None
    return choose_mu(statistics, public.plan, model.mu_grid, residual_budget=model.residual_budget).mu


def budget(model: Model, public: PublicModel, mu: float) -> float:
    """Return the largest gradient norm allowed: the model's own, or the one that follows from mu."""
    return model.residual_budget or default_residual_budget(public.plan, public.width, mu)


def solve(deps: Deps, model: Model, public: PublicModel, statistics: Statistics, mu: float) -> ExactSolution:
    """Solve at mu. Raises ProblemRefused; when mu was chosen NoRidge in its place, whose text has no numbers."""
    try:
        return deps.solve(statistics, public.plan, mu=mu, residual_budget=budget(model, public, mu))
    except ProblemRefused:
        if model.mu is not None:
            raise
    raise NoRidge
