"""Conjugate gradients land on the dense solution from anywhere, and say why when they do not."""

import dataclasses
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from unlearning.errors import BudgetMissed, NonFinite, OutOfRange, ShapeMismatch
from unlearning.linear.features import SharedFeatures
from unlearning.linear.krylov import solve_krylov
from unlearning.linear.problem import RetainedProblem
from unlearning.linear.solution import Residual, Stop

Maker = Callable[..., RetainedProblem]
Dense = Callable[[RetainedProblem], tuple[Tensor, Tensor]]


def far_away(problem: RetainedProblem) -> Tensor:
    generator = torch.Generator().manual_seed(9)
    return 10 * torch.randn(*problem.features.weight_shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("per_output", [False, True])
@pytest.mark.parametrize("condition", [1.0, 1e3, 1e6])
@pytest.mark.parametrize("reference", [False, True])
@pytest.mark.parametrize("warm", [False, True])
def test_it_lands_on_the_dense_solution(
    make_problem: Maker, dense: Dense, tolerance: Callable[..., float],
    per_output: bool, condition: float, reference: bool, warm: bool,
) -> None:  # fmt: skip
    problem = make_problem(per_output=per_output, condition=condition, reference=reference)
    hessian, expected = dense(problem)
    budget = 1e-8 * problem.mu
    solution = solve_krylov(problem, budget=budget, start=far_away(problem) if warm else None)
    assert solution.reason is Stop.REACHED
    assert solution.residual_norm <= solution.residual_bound <= budget
    distance = float(torch.linalg.norm(solution.weights - expected))
    assert distance <= tolerance(hessian, expected, problem.mu, solution.residual_bound)


def test_a_start_within_the_budget_is_returned_as_it_is(make_problem: Maker) -> None:
    problem = make_problem()
    first = solve_krylov(problem, budget=1e-8)
    again = solve_krylov(problem, budget=1e-8, start=first.weights)
    assert again.iterations == 0
    assert torch.equal(again.weights, first.weights)


def test_a_warm_start_needs_fewer_products(make_problem: Maker) -> None:
    problem = make_problem(n=200, width=30, condition=1e4)
    cold = solve_krylov(problem, budget=1e-9)
    near = cold.weights + 1e-6 * far_away(problem)
    assert solve_krylov(problem, budget=1e-9, start=near).iterations < cold.iterations


def test_without_records_it_is_the_reference(make_problem: Maker) -> None:
    whole = make_problem(reference=True)
    none = RetainedProblem(whole.features.take(torch.arange(0)), whole.targets[:0], whole.mu, whole.reference)
    solution = solve_krylov(none, budget=1e-9, start=far_away(whole))
    assert torch.equal(solution.weights, whole.reference)
    assert solution.iterations == 0


def test_a_budget_below_the_float_error_is_refused_with_the_float_error(make_problem: Maker) -> None:
    problem = make_problem(condition=1e12, mu=1e-9)
    with pytest.raises(BudgetMissed, match="float error alone") as refused:
        solve_krylov(problem, budget=1e-19)
    assert refused.value.float_error > 1e-19
    assert f"{refused.value.float_error:.3e} is float error" in str(refused.value)


def test_used_up_products_are_no_result(make_problem: Maker) -> None:
    with pytest.raises(BudgetMissed, match=Stop.ITERATIONS_EXHAUSTED.value) as missed:
        solve_krylov(make_problem(n=200, width=30, condition=1e6), budget=1e-10, most_products=5)
    assert missed.value.iterations == 5


def test_a_drifting_recursion_is_not_trusted(make_problem: Maker) -> None:
    """A product that is off by 1e-4 fools the recursion, but not the true residual: more cycles repair it."""
    problem = make_problem(condition=1e2)

    @dataclasses.dataclass(frozen=True)
    class Off:
        """Another Hessian, the true gradient."""

        count: int = problem.count
        mu: float = problem.mu
        reference: Tensor = problem.reference

        def gradient(self, weights: Tensor) -> Tensor:
            """True."""
            return problem.gradient(weights)

        def hessian_product(self, direction: Tensor) -> Tensor:
            """A little wrong."""
            return problem.hessian_product(direction) * (1 + 1e-4)

        def measured(self, weights: Tensor) -> Residual:
            """True."""
            return problem.measured(weights)

    solution = solve_krylov(Off(), budget=1e-12)
    assert problem.measured(solution.weights).bound <= 1e-12

    class Useless(Off):
        """Products that say nothing about the Hessian."""

        def hessian_product(self, direction: Tensor) -> Tensor:
            """Far too small: the step overshoots."""
            return 0.1 * direction * problem.mu

    with pytest.raises(BudgetMissed, match=Stop.STAGNATED.value):
        solve_krylov(Useless(), budget=1e-12)

    class Indefinite(Off):
        """No positive definite matrix."""

        def hessian_product(self, direction: Tensor) -> Tensor:
            """Negative."""
            return -direction

    with pytest.raises(BudgetMissed, match=Stop.BREAKDOWN.value):
        solve_krylov(Indefinite(), budget=1e-12)


def test_another_measure_replaces_the_pass(make_problem: Maker, counting: type) -> None:
    """A matrix-free map has no bound of its own: the caller measures, for instance against integer statistics."""
    whole = make_problem()
    matrix_free = RetainedProblem(counting(whole.features), whole.targets, whole.mu)
    solution = solve_krylov(matrix_free, budget=1e-9, measure=whole.measured)
    assert whole.measured(solution.weights).bound <= 1e-9


def test_columns_that_are_done_rest_while_others_go_on() -> None:
    """One output with zero targets is solved from the start; its zeros must not turn into NaN."""
    generator = torch.Generator().manual_seed(0)
    phi = torch.randn(30, 5, generator=generator, dtype=torch.float64)
    targets = torch.randn(30, 3, generator=generator, dtype=torch.float64)
    targets[:, 1] = 0.0
    solution = solve_krylov(RetainedProblem(SharedFeatures(phi, 3), targets, 0.01), budget=1e-11)
    assert torch.count_nonzero(solution.weights[:, 1]) == 0


def test_bad_input_is_refused_before_any_pass(make_problem: Maker, counting: type) -> None:
    whole = make_problem()
    features = counting(whole.features)
    problem = RetainedProblem(features, whole.targets, whole.mu)
    for budget in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(OutOfRange):
            solve_krylov(problem, budget=budget)
    with pytest.raises(OutOfRange):
        solve_krylov(problem, budget=1e-6, most_products=0)
    with pytest.raises(ShapeMismatch):
        solve_krylov(problem, budget=1e-6, start=whole.reference[1:])
    with pytest.raises(ShapeMismatch):
        solve_krylov(problem, budget=1e-6, start=whole.reference.float())
    with pytest.raises(NonFinite):
        solve_krylov(problem, budget=1e-6, start=torch.full_like(whole.reference, math.nan))
    assert features.passes == 0
