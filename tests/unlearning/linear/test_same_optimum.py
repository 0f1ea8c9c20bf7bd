"""Exact statistics, conjugate gradients and descent are three ways to one minimiser."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from unlearning.exact_solver import solve_exact
from unlearning.linear import batches
from unlearning.linear.from_rows import features_of, problem_of, targets_of
from unlearning.linear.krylov import solve_krylov
from unlearning.linear.sgd import SgdPlan, smoothness, solve_sgd
from unlearning.linear.statistics_problem import StatisticsProblem, from_statistics
from unlearning.quantization import QuantizationPlan
from unlearning.rows import QuantizedRows
from unlearning.statistics import Statistics

MU, BUDGET = 50.0, 1e-9
"""Full-range features have a mean square near 340: at this ridge descent needs some hundred steps."""


@pytest.fixture(scope="module", params=["shared", "per output"])
def kind(request: pytest.FixtureRequest, plan: QuantizationPlan) -> QuantizationPlan:
    """The plan, for either kind of features."""
    return replace(plan, per_output=request.param == "per output")


@pytest.fixture(scope="module")
def rows(kind: QuantizationPlan) -> QuantizedRows:
    """60 random records of 5 features that use the plan's whole range."""
    generator = np.random.default_rng(5)
    shape = (60, kind.classes, 5) if kind.per_output else (60, 5)
    return QuantizedRows(
        generator.integers(-kind.phi_limit, kind.phi_limit + 1, shape).astype(np.int16),
        generator.integers(-kind.core_limit, kind.core_limit + 1, (60, kind.classes)).astype(np.int32),
        generator.integers(0, kind.classes, 60).astype(np.int32),
    )


def by_krylov(rows: QuantizedRows, plan: QuantizationPlan) -> Tensor:
    return solve_krylov(problem_of(rows, plan, MU), budget=BUDGET).weights


def by_krylov_on_statistics(rows: QuantizedRows, plan: QuantizationPlan) -> Tensor:
    return solve_krylov(statistics_problem(rows, plan), budget=BUDGET).weights


def by_sgd(rows: QuantizedRows, plan: QuantizationPlan) -> Tensor:
    problem = problem_of(rows, plan, MU)
    passes = batches.shuffled(features_of(rows, plan), targets_of(rows, plan), 16)
    descent = SgdPlan(1.0 / smoothness(features_of(rows, plan).largest_record_norm(), MU), epochs=50, most_rounds=100)
    return solve_sgd(problem, passes, descent, budget=BUDGET, generator=torch.Generator().manual_seed(0)).weights


def statistics_problem(rows: QuantizedRows, plan: QuantizationPlan) -> StatisticsProblem:
    return from_statistics(Statistics.zero(rows.width, plan.columns).plus(rows, plan), plan, MU)


@pytest.mark.parametrize("solve", [by_krylov, by_krylov_on_statistics, by_sgd])
def test_training_reaches_the_exact_solution(
    kind: QuantizationPlan, rows: QuantizedRows, solve: Callable[[QuantizedRows, QuantizationPlan], Tensor]
) -> None:
    statistics = Statistics.zero(rows.width, kind.columns).plus(rows, kind)
    exact = solve_exact(statistics, kind, mu=MU, residual_budget=BUDGET)
    distance = float(np.linalg.norm(solve(rows, kind).numpy() - exact.weights))
    # Both gradients are within the budget, and no eigenvalue of the Hessian is below mu.
    assert distance <= 2 * BUDGET / MU
    assert float(np.linalg.norm(exact.weights)) > 1e6 * BUDGET / MU


def test_statistics_and_rows_give_one_quadratic(kind: QuantizationPlan, rows: QuantizedRows) -> None:
    by_pass, by_sums = problem_of(rows, kind, MU), statistics_problem(rows, kind)
    w = torch.randn(rows.width, kind.columns, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(by_sums.gradient(w), by_pass.gradient(w), rtol=1e-12, atol=1e-9)
    torch.testing.assert_close(by_sums.hessian_product(w), by_pass.hessian_product(w), rtol=1e-12, atol=1e-9)
    torch.testing.assert_close(by_sums.hessian() @ w, by_pass.hessian_product(w), rtol=1e-12, atol=1e-9)
    torch.testing.assert_close(by_sums.moment_product(w) + MU * w, by_pass.hessian_product(w), rtol=1e-12, atol=1e-9)
    a, b = by_pass.measured(w), by_sums.measured(w)
    assert abs(a.norm - b.norm) <= a.float_error + b.float_error


def test_without_records_the_statistics_leave_the_ridge_alone(kind: QuantizationPlan, rows: QuantizedRows) -> None:
    nobody = statistics_problem(rows.take(slice(0, 0)), kind)
    w = torch.ones(rows.width, kind.columns, dtype=torch.float64)
    torch.testing.assert_close(nobody.gradient(w), MU * w)
    torch.testing.assert_close(nobody.hessian_product(w), MU * w)
    torch.testing.assert_close(nobody.hessian(), MU * torch.eye(rows.width, dtype=torch.float64))
    assert torch.count_nonzero(solve_krylov(nobody, budget=BUDGET, start=w).weights) == 0
