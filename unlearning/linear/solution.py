"""What an iterative solver returns: weights whose residual was measured, and why it stopped."""

import math
from dataclasses import dataclass
from enum import StrEnum

from torch import Tensor

from unlearning.errors import BudgetMissed, OutOfRange


class Stop(StrEnum):
    """Why a solver stopped. Only REACHED makes a result."""

    REACHED = "the residual met the budget"
    STAGNATED = "the residual no longer falls"
    ITERATIONS_EXHAUSTED = "the iterations are used up"
    FLOAT_ERROR = "the float error alone exceeds the budget"
    DIVERGED = "the iteration grew without bound"
    BREAKDOWN = "the Hessian or the preconditioner is not positive definite"


@dataclass(frozen=True, slots=True)
class Residual:
    """The Frobenius norm of the gradient at given weights: as computed, and an upper bound on the true one."""

    norm: float
    bound: float

    @property
    def float_error(self) -> float:
        """The share of the bound that rounding has."""
        return self.bound - self.norm


@dataclass(frozen=True, slots=True, eq=False)
class Solution:
    """weights (d, q) whose residual, float error included, meets the budget: residual_bound <= budget.

    `iterations` counts products with the Hessian (krylov) or steps (sgd).
    """

    weights: Tensor
    residual_norm: float
    residual_bound: float
    budget: float
    reason: Stop
    iterations: int


def settle(weights: Tensor, residual: Residual, *, budget: float, reason: Stop, iterations: int) -> Solution:
    """Return the result of a solver that stopped. Raises BudgetMissed: the measured bound exceeds the budget."""
    # Written so that NaN is refused as well.
    if not residual.bound <= budget:
        raise BudgetMissed(
            reason.value,
            residual_norm=residual.norm,
            residual_bound=residual.bound,
            budget=budget,
            iterations=iterations,
        )
    return Solution(weights, residual.norm, residual.bound, budget, Stop.REACHED, iterations)


def check_budget(budget: float) -> None:
    """Raise OutOfRange unless the residual budget is positive and finite."""
    if not (budget > 0 and math.isfinite(budget)):
        raise OutOfRange("residual budget", budget, "> 0")
