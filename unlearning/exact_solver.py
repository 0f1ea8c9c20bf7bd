"""From statistics to the weights that minimise the loss, with a proved float error."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from unlearning.errors import OutOfRange, ProblemRefused
from unlearning.quantization import QuantizationPlan
from unlearning.residual import normal_equations, residual_bound
from unlearning.statistics import Statistics


@dataclass(frozen=True, slots=True, eq=False)
class ExactSolution:
    """weights (d, q) float64 in real units; the norms are those of `residual.ResidualReport`, bound <= budget."""

    weights: npt.NDArray[np.float64]
    residual_norm: float
    residual_bound: float
    budget: float


def solve_exact(statistics: Statistics, plan: QuantizationPlan, *, mu: float, residual_budget: float) -> ExactSolution:
    """Minimise 1/(2n) sum ||W^T phi - t||^2 + mu/2 ||W||^2 by Cholesky and, if it helps, one refinement step.

    With features per output the sum is over ||Phi w - t||^2.
    Equal statistics give equal bytes on one build, machine and thread count (see `fingerprint`). No records: zero.
    `residual.default_residual_budget` derives a budget from the plan.
    Raises OutOfRange: mu or the budget not positive, count above capacity; ShapeMismatch; ProblemRefused: the
    residual cannot be proved to be within the budget.
    """
    if not (mu > 0 and math.isfinite(mu)):
        raise OutOfRange("mu", mu, "> 0")
    if not (residual_budget > 0 and math.isfinite(residual_budget)):
        raise OutOfRange("residual budget", residual_budget, "> 0")
    if statistics.count == 0:
        nothing = np.zeros(statistics.cross.shape)
        return ExactSolution(nothing, 0.0, 0.0, residual_budget)
    system = normal_equations(statistics, plan, mu)
    factor, failed_at = torch.linalg.cholesky_ex(system.matrix)
    if int(failed_at):
        raise ProblemRefused(math.inf, residual_budget, f"Cholesky met a negative pivot at column {int(failed_at)}")
    x = solve_factored(factor, system.cross)
    left_over = system.residual(x)
    refined = x + solve_factored(factor, left_over)
    left_over_refined = system.residual(refined)
    if float(torch.linalg.norm(left_over_refined)) < float(torch.linalg.norm(left_over)):
        x, left_over = refined, left_over_refined
    computed, bound = residual_bound(system, x, left_over)
    # Written so that NaN is refused as well.
    if not bound <= residual_budget:
        raise ProblemRefused(bound, residual_budget, f"d = {statistics.width}, n = {statistics.count}, mu = {mu:g}")
    return ExactSolution(system.to_weights(x), computed, bound, residual_budget)


def solve_factored(factor: Tensor, right: Tensor) -> Tensor:
    """Return (L L^T)^-1 right; two triangular solves take half the time of torch.cholesky_solve here."""
    forward = torch.linalg.solve_triangular(factor, right, upper=False)
    solution: Tensor = torch.linalg.solve_triangular(factor.mT, forward, upper=True)
    return solution
