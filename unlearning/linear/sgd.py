"""The paper's forgetting step: stochastic gradient descent on an auxiliary quadratic (dissertation, eq. 6.11 to 6.13).

L(v) = 1/2 v^T H v - g_r(w)^T v has its minimum at the forgetting step v = H^-1 g_r(w). H is sampled on minibatches;
g_r(w) is computed over every record ("complete", section 6.6.2), or sampled too ("stochastic", for comparison).
Corrections to the print: H carries 1/n (6.10 drops it), and the noise of 6.13 is added elsewhere, with standard
deviation sigma. With the complete gradient a round shrinks the error by a factor, because the sampling noise of H v is
proportional to v; so rounds with a gradient computed anew reach any residual that float64 can. The paper takes one.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor

from unlearning.errors import OutOfRange
from unlearning.linear.batches import Batches
from unlearning.linear.problem import Quadratic, check_mu, check_weights
from unlearning.linear.solution import Residual, Solution, Stop, check_budget, settle

GROWTH = 1e6
"""A residual that grew by this factor over the first one has diverged."""
PATIENCE = 10
"""Rounds without a smaller residual after which the descent has stagnated."""


class ResidualGradient(StrEnum):
    """How g_r(w) is computed: over every record, or over the minibatch at hand."""

    COMPLETE = "complete"
    STOCHASTIC = "stochastic"


@dataclass(frozen=True, slots=True)
class SgdPlan:
    """step: learning rate; it is multiplied by `decay` after each of the `epochs` passes of a round."""

    step: float
    epochs: int
    momentum: float = 0.0
    decay: float = 1.0
    most_rounds: int = 1
    residual_gradient: ResidualGradient = ResidualGradient.COMPLETE

    def __post_init__(self) -> None:
        """Raise OutOfRange."""
        if not (self.step > 0 and math.isfinite(self.step)):
            raise OutOfRange("step", self.step, "> 0")
        if not 0 <= self.momentum < 1:
            raise OutOfRange("momentum", self.momentum, ">= 0 and < 1")
        if not 0 < self.decay <= 1:
            raise OutOfRange("decay of the step", self.decay, "> 0 and <= 1")
        for name, number in (("epochs", self.epochs), ("rounds", self.most_rounds)):
            if number < 1:
                raise OutOfRange(name, number, ">= 1")


PAPER_PLAN = SgdPlan(step=0.01, epochs=3, momentum=0.999, decay=0.5)
"""Section 6.8.3 for Caltech-256, Stanford Dogs and CIFAR-10; batches of 64."""
PAPER_PLAN_FINE_GRAINED = SgdPlan(step=0.025, epochs=4, momentum=0.999, decay=0.5)
"""Section 6.8.3 for MIT-67, CUB-200 and FGVC-Aircraft; batches of 64."""
PAPER_BATCH = 64


def smoothness(record_norm: float, mu: float) -> float:
    """Return beta = M^2 + mu, the largest curvature that any minibatch can have when ||Phi_i|| <= M.

    Raises OutOfRange: M negative or not finite, mu not positive.
    """
    check_mu(mu)
    if not (record_norm >= 0 and math.isfinite(record_norm)):
        raise OutOfRange("bound on a record's features", record_norm, ">= 0 and finite")
    return record_norm**2 + mu


def a_priori_plan(*, record_norm: float, mu: float, epochs: int) -> SgdPlan:
    """Return the plan of the a-priori bound: step mu / beta^2, no momentum; use it with `batches.drawn`.

    `record_norm` bounds every record's ||Phi_i||, from public clips. Raises OutOfRange.
    """
    return SgdPlan(step=mu / smoothness(record_norm, mu) ** 2, epochs=epochs)


def solve_sgd(
    problem: Quadratic,
    batches: Batches,
    plan: SgdPlan,
    *,
    budget: float,
    generator: torch.Generator,
    start: Tensor | None = None,
    measure: Callable[[Tensor], Residual] | None = None,
) -> Solution:
    """Return weights whose measured gradient norm, float error included, is within `budget`.

    `start` and `measure` as in `solve_krylov`; `batches` must show the records of `problem` and no others.
    Raises OutOfRange: budget; ShapeMismatch, NonFinite: start; BudgetMissed: stopped earlier, with the reason.
    """
    check_budget(budget)
    weights = problem.reference
    if start is not None:
        check_weights("starting weights", start, (int(weights.shape[0]), int(weights.shape[1])))
        weights = start
    if not problem.count:
        return settle(problem.reference, Residual(0.0, 0.0), budget=budget, reason=Stop.REACHED, iterations=0)
    measure = measure or problem.measured
    first = best = measure(weights)
    kept, steps, idle, stop = weights, 0, 0, Stop.ITERATIONS_EXHAUSTED
    for _ in range(plan.most_rounds):
        if best.bound <= budget:
            break
        weights, taken = run_round(problem, batches, plan, weights, generator)
        steps += taken
        found = measure(weights)
        if not (math.isfinite(found.norm) and found.norm <= GROWTH * first.norm):
            stop = Stop.DIVERGED
            break
        idle += 1
        if found.norm < best.norm:
            kept, best, idle = weights, found, 0
        if best.norm <= budget <= best.float_error:
            stop = Stop.FLOAT_ERROR
            break
        if idle >= PATIENCE:
            stop = Stop.STAGNATED
            break
    return settle(kept, best, budget=budget, reason=stop, iterations=steps)


def run_round(
    problem: Quadratic, batches: Batches, plan: SgdPlan, weights: Tensor, generator: torch.Generator
) -> tuple[Tensor, int]:
    """Return w - v after one descent of the auxiliary quadratic from v = 0, and the number of steps.

    Nothing is measured: on its own this is no result, only the paper's curve.
    """
    complete = plan.residual_gradient is ResidualGradient.COMPLETE
    gradient = problem.gradient(weights) if complete else None
    v, velocity = torch.zeros_like(weights), torch.zeros_like(weights)
    step, steps = plan.step, 0
    for _ in range(plan.epochs):
        for features, targets in batches(generator):
            if gradient is None:
                trial = weights - v
                errors = features.apply(trial) - targets
                decay = problem.mu * (trial - problem.reference)
                slope = -(features.adjoint(errors) / features.count + decay)
            else:
                slope = features.adjoint(features.apply(v)) / features.count + problem.mu * v - gradient
            velocity = plan.momentum * velocity + slope
            v = v - step * velocity
            steps += 1
        step *= plan.decay
    return weights - v, steps
