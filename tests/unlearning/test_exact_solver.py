"""The solve and its residual bound: known answers, dense and rational references, refusals."""

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unlearning.errors import NonFinite, OutOfRange, ProblemRefused, ShapeMismatch
from unlearning.exact_solver import solve_exact
from unlearning.quantization import QuantizationPlan
from unlearning.residual import check_residual, default_residual_budget
from unlearning.rows import QuantizedRows, targets
from unlearning.statistics import Statistics

RowMaker = Callable[..., QuantizedRows]
EPS = float(np.finfo(np.float64).eps)


def problem_with_spectrum(
    plan: QuantizationPlan, d: int, condition: float, mu: float, seed: int
) -> tuple[Statistics, np.ndarray]:
    """Integer statistics whose minimiser is known: A = V diag(s) V^T rounded, B = (A + ridge) X for a chosen integer X.

    n = 16 and mu = 2^-j make the ridge n mu 4^e an integer, so B is exact.
    """
    generator = np.random.default_rng(seed)
    ridge = Fraction(mu) * 16 * 4**plan.phi_exponent
    assert ridge.denominator == 1
    basis = np.linalg.svd(generator.normal(size=(d, d)))[0]
    spectrum = float(ridge) * np.geomspace(1.0, condition, d)
    half = np.rint((basis * spectrum) @ basis.T).astype(np.int64)
    gram = np.triu(half) + np.triu(half, 1).T
    chosen = generator.integers(-8, 9, (d, plan.classes))
    cross = gram @ chosen + int(ridge) * chosen
    answer = np.ldexp(chosen.astype(float), plan.phi_exponent - plan.target_exponent)
    return Statistics(gram, cross, 16, 0), answer


@pytest.mark.parametrize("condition", [1e1, 1e4, 1e7])
@pytest.mark.parametrize("d", [1, 5, 40])
def test_known_answer_from_a_spectrum(plan: QuantizationPlan, d: int, condition: float) -> None:
    mu = 2.0**-8
    statistics, answer = problem_with_spectrum(plan, d, condition, mu, seed=d)
    got = solve_exact(statistics, plan, mu=mu, residual_budget=1.0)
    error = np.linalg.norm(got.weights - answer) / np.linalg.norm(answer)
    assert error < 10 * condition * EPS


def test_equals_the_dense_float64_minimiser_of_the_loss(random_rows: RowMaker, plan: QuantizationPlan) -> None:
    rows, mu = random_rows(60, 12), 0.3
    phi = plan.phi_values(rows.phi)
    goal = np.ldexp(targets(rows, plan).astype(float), -plan.target_exponent)
    stacked = np.vstack([phi / math.sqrt(60), math.sqrt(mu) * np.eye(12)])
    reference = np.linalg.lstsq(stacked, np.vstack([goal / math.sqrt(60), np.zeros((12, 3))]), rcond=None)[0]
    got = solve_exact(Statistics.zero(12, 3).plus(rows, plan), plan, mu=mu, residual_budget=1.0).weights
    condition = np.linalg.cond(stacked)
    assert np.linalg.norm(got - reference) / np.linalg.norm(reference) < 10 * condition**2 * EPS


@given(seed=st.integers(0, 2**31), count=st.integers(1, 12), mu=st.floats(1e-6, 10))
@settings(max_examples=100, deadline=None)
def test_the_bound_holds_in_rational_arithmetic(
    random_rows: RowMaker, plan: QuantizationPlan, seed: int, count: int, mu: float
) -> None:
    statistics = Statistics.zero(4, 3).plus(random_rows(count, 4, seed), plan)
    got = solve_exact(statistics, plan, mu=mu, residual_budget=1.0)
    assert exact_residual_square(statistics, plan, got.weights, mu) <= Fraction(got.residual_bound) ** 2
    assert got.residual_norm <= got.residual_bound <= got.budget


def exact_residual_square(statistics: Statistics, plan: QuantizationPlan, weights: np.ndarray, mu: float) -> Fraction:
    """||(A/n + mu I) W - B/n||^2 without rounding."""
    feature, goal = Fraction(1, 4**plan.phi_exponent), Fraction(1, 2 ** (plan.phi_exponent + plan.target_exponent))
    total = Fraction(0)
    d, classes = weights.shape
    for row in range(d):
        for column in range(classes):
            product = sum(
                int(statistics.gram[row, k]) * feature * Fraction(float(weights[k, column])) for k in range(d)
            )
            gradient = (product - int(statistics.cross[row, column]) * goal) / statistics.count
            gradient += Fraction(mu) * Fraction(float(weights[row, column]))
            total += gradient * gradient
    return total


def test_duplicated_records_change_nothing(random_rows: RowMaker, plan: QuantizationPlan) -> None:
    """The loss is a mean: [X, X] has the minimiser of X at the same mu."""
    rows = random_rows(30, 5)
    once = Statistics.zero(5, 3).plus(rows, plan)
    twice = once.plus(rows, plan)
    left, right = (solve_exact(s, plan, mu=0.1, residual_budget=1.0).weights for s in (once, twice))
    assert np.linalg.norm(left - right) < 1e-12 * np.linalg.norm(left)


def test_equal_statistics_give_equal_bytes_again_and_again(random_rows: RowMaker, plan: QuantizationPlan) -> None:
    statistics = Statistics.zero(300, 3).plus(random_rows(900, 300), plan)
    first = solve_exact(statistics, plan, mu=0.1, residual_budget=1.0).weights.tobytes()
    for _ in range(5):
        keep_memory_moving = torch.empty(np.random.default_rng().integers(1, 99_999))
        restored = Statistics.from_bytes(statistics.to_bytes())
        assert solve_exact(restored, plan, mu=0.1, residual_budget=1.0).weights.tobytes() == first
        del keep_memory_moving


def test_no_records_give_zero_weights(plan: QuantizationPlan) -> None:
    got = solve_exact(Statistics.zero(4, 3), plan, mu=0.1, residual_budget=1e-9)
    assert not got.weights.any()
    assert (got.residual_norm, got.residual_bound) == (0.0, 0.0)
    assert check_residual(Statistics.zero(4, 3), plan, got.weights, mu=0.1, residual_budget=1e-9).passed
    left_over = np.full((4, 3), 1e-3)
    assert not check_residual(Statistics.zero(4, 3), plan, left_over, mu=0.1, residual_budget=1e-9).passed


@pytest.mark.parametrize("share", [0.0, 0.5, -1.0])
def test_half_a_step_no_step_and_the_wrong_sign_fail_the_residual(
    random_rows: RowMaker, plan: QuantizationPlan, share: float
) -> None:
    rows, mu = random_rows(40), 0.1
    before = Statistics.zero(6, 3).plus(rows, plan)
    after = before.minus(rows.take([0]), plan)
    budget = default_residual_budget(plan, 6, mu)
    old, new = (solve_exact(s, plan, mu=mu, residual_budget=budget).weights for s in (before, after))
    assert check_residual(after, plan, new, mu=mu, residual_budget=budget).passed
    assert not check_residual(after, plan, old + share * (new - old), mu=mu, residual_budget=budget).passed


@pytest.mark.parametrize(("mu", "reason"), [(1e-14, "pivot"), (1e-8, "mu = 1e-08")])
def test_an_ill_conditioned_problem_is_refused_with_the_numbers(
    random_rows: RowMaker, plan: QuantizationPlan, mu: float, reason: str
) -> None:
    """Rank 3 of 6: Cholesky breaks down at the smallest ridge, and its result cannot be vouched for at the next."""
    statistics = Statistics.zero(6, 3).plus(random_rows(3), plan)
    with pytest.raises(ProblemRefused, match="raise mu") as refused:
        solve_exact(statistics, plan, mu=mu, residual_budget=default_residual_budget(plan, 6, mu))
    assert reason in refused.value.reason
    assert refused.value.residual_bound > refused.value.budget
    assert f"{refused.value.budget:.3e}" in str(refused.value)
    solve_exact(statistics, plan, mu=0.1, residual_budget=default_residual_budget(plan, 6, 0.1))


def test_statistics_that_no_records_have_are_refused(plan: QuantizationPlan) -> None:
    indefinite = Statistics(np.array([[0, 2**40], [2**40, 0]]), np.ones((2, 3), np.int64), 1, 0)
    with pytest.raises(ProblemRefused, match="pivot"):
        solve_exact(indefinite, plan, mu=0.1, residual_budget=1.0)


@pytest.mark.parametrize("wrong", [0.0, -1.0, math.nan, math.inf])
def test_mu_and_budget_must_be_positive(random_rows: RowMaker, plan: QuantizationPlan, wrong: float) -> None:
    statistics = Statistics.zero(6, 3).plus(random_rows(9), plan)
    with pytest.raises(OutOfRange, match="mu"):
        solve_exact(statistics, plan, mu=wrong, residual_budget=1.0)
    with pytest.raises(OutOfRange, match="budget"):
        solve_exact(statistics, plan, mu=0.1, residual_budget=wrong)
    with pytest.raises(OutOfRange, match="mu"):
        default_residual_budget(plan, 6, wrong)


def test_weights_are_checked(random_rows: RowMaker, plan: QuantizationPlan) -> None:
    statistics = Statistics.zero(6, 3).plus(random_rows(9), plan)
    with pytest.raises(ShapeMismatch):
        check_residual(statistics, plan, np.zeros((5, 3)), mu=0.1, residual_budget=1.0)
    with pytest.raises(NonFinite):
        check_residual(statistics, plan, np.full((6, 3), np.nan), mu=0.1, residual_budget=1.0)


def test_default_budget_keeps_an_average_record_within_half_a_grid_step(plan: QuantizationPlan) -> None:
    """A gradient exactly as large as the budget moves a logit by at most half a step, for ||phi|| = sqrt(d)."""
    mu, d = 0.1, 6
    budget = default_residual_budget(plan, d, mu)
    assert budget / mu * math.sqrt(d) == pytest.approx(2.0**-plan.target_exponent / 2, rel=1e-12)
