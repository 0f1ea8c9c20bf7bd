"""From statistics to weights by the model's solver. The weights returned here are from before the noise.

They are handed on in memory and stored nowhere: with krylov and sgd they still hold a trace of where they started.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from ledger import folding
from ledger.tables import Model, ModelVersion
from unlearning.errors import BudgetMissed
from unlearning.linear.preconditioner import LowRank, random_nystrom
from unlearning.linear.sgd import SgdPlan
from unlearning.linear.statistics_problem import StatisticsProblem, from_statistics
from unlearning.public_model import PublicModel
from unlearning.statistics import Statistics
from workers import apart, models, ridge
from workers.deps import Deps
from workers.errors import CheckFailed
from workers.stored_batches import stored_batches

EXACT, KRYLOV, SGD = "exact", "krylov", "sgd"
MOST_RANK = 128
"""Of the preconditioner; a quarter of the width if that is less."""
MOST_PRODUCTS = 5_000
SEED = 0
"""Of the preconditioner's sketch and the order of minibatches: they decide how fast a solve is, not where it ends."""
BATCH, MOMENTUM, LEAST_STEPS, MOST_STEPS = 256, 0.9, 64, 20_000
"""Descent: records per minibatch; steps of one round at least, and of all rounds at most."""
POWER_STEPS = 30

Weights = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Solved:
    """weights (d, q) before noise; fell_back: the model's solver missed its budget, and the exact one took its place.

    Whether it fell back depends on the data, so it is for the operator only.
    """

    weights: Weights
    fell_back: bool = False


def solve(
    deps: Deps,
    model: Model,
    public: PublicModel,
    statistics: Statistics,
    mu: float,
    *,
    before: ModelVersion | None,
    upto: int,
    without_rows: bool = False,
) -> Solved:
    """Solve for the records up to `upto`; krylov and sgd start at the published weights of `before`.

    without_rows: stored rows that cannot be read are given up for lost, and the exact solver, which needs none, takes
    over from sgd.
    Raises ProblemRefused, NoRidge: neither the solver nor the exact one met the budget. CheckFailed, LedgerError.
    """
    if model.solver == EXACT or not statistics.count:
        return Solved(ridge.solve(deps, model, public, statistics, mu).weights)
    problem = from_statistics(statistics, public.plan, mu)
    start = None if before is None else torch.from_numpy(models.load_weights(deps.ledger, before))
    budget = ridge.budget(model, public, mu)
    try:
        if model.solver == KRYLOV:
            found = deps.krylov(
                problem, budget=budget, start=start, preconditioner=sketch(problem), most_products=MOST_PRODUCTS
            )
        else:
            with deps.ledger.database.read() as tx:
                held = folding.held(tx, model.id, upto)
            batches = stored_batches(deps.ledger, model.id, public, held, BATCH)
            generator = torch.Generator().manual_seed(SEED)
            plan = descent(problem)
            found = deps.sgd(problem, batches, plan, budget=budget, generator=generator, start=start)
    except (*apart.DAMAGE, CheckFailed) as problem:
        if not (without_rows and apart.is_damage(problem)):
            raise
        return Solved(ridge.solve(deps, model, public, statistics, mu).weights, fell_back=True)
    except BudgetMissed:
        return Solved(ridge.solve(deps, model, public, statistics, mu).weights, fell_back=True)
    return Solved(found.weights.numpy())


def sketch(problem: StatisticsProblem) -> LowRank:
    """Return a preconditioner from the retained records' own second moment."""
    width = problem.statistics.width
    rank = max(1, min(MOST_RANK, width // 4))
    return random_nystrom(problem.moment_product, width, problem.mu, rank, torch.Generator().manual_seed(SEED))


def descent(problem: StatisticsProblem) -> SgdPlan:
    """Return a plan whose step is stable for whole batches and, with momentum, for the noise of minibatches.

    The largest eigenvalue l comes from a power iteration, a record's mean square norm R^2 from the trace. A step that
    is too long all the same diverges, and then the exact solver takes over.
    """
    width, columns = problem.statistics.cross.shape
    vector = torch.randn(width, columns, dtype=torch.float64, generator=torch.Generator().manual_seed(SEED))
    largest = problem.mu
    for _ in range(POWER_STEPS):
        vector = problem.hessian_product(vector / torch.linalg.norm(vector))
        largest = float(torch.linalg.norm(vector))
    mean_square = float(problem.hessian().trace())
    noisy = problem.count > BATCH
    step = min(1.0 / largest, (1.0 - MOMENTUM) * BATCH / (4.0 * mean_square) if noisy else math.inf)
    per_pass = math.ceil(problem.count / BATCH)
    epochs = max(3, math.ceil(LEAST_STEPS / per_pass))
    return SgdPlan(step, epochs, MOMENTUM, most_rounds=max(1, MOST_STEPS // (epochs * per_pass)))
