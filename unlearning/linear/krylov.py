"""Preconditioned conjugate gradients on the forgetting step H p = g_r(w) (dissertation, eq. 6.11, 6.12, 6.6.2).

The step w - H^-1 g_r(w) lands on the minimiser from any starting point, and the residual of the system at a trial step
is the gradient at the trial weights. The recursion of conjugate gradients drifts from that gradient, so it is never
trusted: a cycle ends where the recursion says it is done, the true gradient is computed over every record, and the next
cycle starts from it. All q columns share each product with the Hessian.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from unlearning.errors import OutOfRange
from unlearning.linear.preconditioner import Identity, Preconditioner
from unlearning.linear.problem import Quadratic, check_weights
from unlearning.linear.solution import Residual, Solution, Stop, check_budget, settle

Measure = Callable[[Tensor], Residual]

LARGEST_DROP = 1e-10
"""A cycle ends when its recursion claims this relative drop: below it float64 would mostly follow its own drift."""
SMALLEST_PROGRESS = 0.5
"""A finished cycle that leaves more than this share of the true residual has stagnated."""
NO_PRECONDITIONER = Identity()


@dataclass(frozen=True, slots=True, eq=False)
class Cycle:
    """The step that one cycle found, its products with the Hessian, and what ended it; None: its goal."""

    step: Tensor
    products: int
    failure: Stop | None


def solve_krylov(
    problem: Quadratic,
    *,
    budget: float,
    start: Tensor | None = None,
    preconditioner: Preconditioner = NO_PRECONDITIONER,
    most_products: int = 10_000,
    measure: Measure | None = None,
) -> Solution:
    """Return weights whose measured gradient norm, float error included, is within `budget`.

    `start` (d, q), for instance the last published weights; none means w_ref. `measure` replaces `problem.measured`.
    Without records the answer is w_ref. Everything is checked before the first pass.
    Raises OutOfRange: budget or most_products not positive; ShapeMismatch, NonFinite: start; BudgetMissed: stopped
    earlier, with the reason.
    """
    check_budget(budget)
    if most_products < 1:
        raise OutOfRange("products with the Hessian", most_products, ">= 1")
    weights = problem.reference
    if start is not None:
        check_weights("starting weights", start, (int(weights.shape[0]), int(weights.shape[1])))
        weights = start
    if not problem.count:
        return settle(problem.reference, Residual(0.0, 0.0), budget=budget, reason=Stop.REACHED, iterations=0)
    measure = measure or problem.measured
    residual = measure(weights)
    used, goal, stop = 0, 0.5 * budget, Stop.REACHED
    while stop is Stop.REACHED and not residual.bound <= budget:
        cycle = run_cycle(problem, -problem.gradient(weights), preconditioner, goal, most_products - used)
        used += cycle.products
        moved = weights + cycle.step
        found = measure(moved)
        stop = judge(residual, found, cycle, budget, exhausted=used >= most_products)
        if found.norm < residual.norm:
            weights, residual = moved, found
        goal = min(goal, 0.5 * (budget - residual.float_error))
    return settle(weights, residual, budget=budget, reason=stop, iterations=used)


def judge(before: Residual, after: Residual, cycle: Cycle, budget: float, *, exhausted: bool) -> Stop:
    """Return why to stop after a cycle; REACHED means that it met the budget or that another cycle may."""
    if after.bound <= budget:
        return Stop.REACHED
    if not math.isfinite(after.norm):
        return Stop.DIVERGED
    if cycle.failure is Stop.BREAKDOWN:
        return Stop.BREAKDOWN
    if exhausted:
        return Stop.ITERATIONS_EXHAUSTED
    if after.norm <= budget <= after.float_error:
        return Stop.FLOAT_ERROR
    if after.norm > SMALLEST_PROGRESS * before.norm:
        kept = after if after.norm < before.norm else before
        return Stop.FLOAT_ERROR if kept.float_error >= budget else Stop.STAGNATED
    return Stop.REACHED


def run_cycle(
    problem: Quadratic, right: Tensor, preconditioner: Preconditioner, goal: float, most_products: int
) -> Cycle:
    """Run conjugate gradients on H p = `right` from p = 0 until the recursion's residual is below `goal`.

    The q columns are independent systems with one Hessian; a column that is done rests while the others go on.
    """
    columns = right.shape[1]
    allowed = max(goal, LARGEST_DROP * float(torch.linalg.norm(right))) / math.sqrt(columns)
    step, left = torch.zeros_like(right), right.clone()
    direction = torch.zeros_like(right)
    before = torch.ones(columns, dtype=right.dtype, device=right.device)
    for products in range(most_products):
        active = torch.linalg.vector_norm(left, dim=0) > allowed
        if not bool(active.any()):
            return Cycle(step, products, None)
        better = preconditioner.solve(left)
        now = (left * better).sum(0)
        if not bool((now[active] > 0).all()):
            return Cycle(step, products, Stop.BREAKDOWN)
        direction = better + (now / before if products else torch.zeros_like(now)) * direction
        curved = problem.hessian_product(direction)
        curvature = (direction * curved).sum(0)
        if not bool((curvature[active] > 0).all()):
            return Cycle(step, products + 1, Stop.BREAKDOWN)
        length = torch.where(active, now / torch.where(active, curvature, 1.0), 0.0)
        step = step + length * direction
        left = left - length * curved
        # A resting column keeps its scale, so that no quotient of two zeros arises.
        before = torch.where(active, now, 1.0)
    return Cycle(step, most_products, Stop.ITERATIONS_EXHAUSTED)
