"""The ridge that cross-validation chooses: the textbook's, a function of the retained records, and provable."""

import math
import random
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unlearning import gcv, weights
from unlearning.errors import OutOfRange, ProblemRefused, ShapeMismatch
from unlearning.exact_solver import solve_exact
from unlearning.gcv import DEFAULT_GRID, choose_mu
from unlearning.quantization import QuantizationPlan
from unlearning.residual import default_residual_budget
from unlearning.rows import QuantizedRows, targets
from unlearning.statistics import Statistics

RowMaker = Callable[..., QuantizedRows]
KEY = b"salt of this version"
WIDTH = 4


def fold(rows: QuantizedRows, plan: QuantizationPlan) -> Statistics:
    return Statistics.zero(rows.phi.shape[1], plan.classes).plus(rows, plan)


def learnable(rows: QuantizedRows, plan: QuantizationPlan, noise: float, seed: int = 0) -> QuantizedRows:
    """Rows with features in -1 to 1 and a bias, and core outputs that are linear in them plus noise of this share."""
    generator = np.random.default_rng(seed)
    phi_int = rows.phi // 32
    phi_int[:, -1] = 2**plan.phi_exponent
    phi = plan.phi_values(phi_int)
    signal = phi @ np.random.default_rng(0).normal(size=(phi.shape[1], plan.classes)) / math.sqrt(phi.shape[1])
    core = np.rint(2**10 * (signal + noise * generator.normal(size=signal.shape)))
    return QuantizedRows(phi_int, core.astype(np.int32), np.zeros(rows.count, np.int32))


@pytest.mark.parametrize(("count", "width"), [(40, 6), (6, 6), (5, 12), (1, 3)])
def test_scores_equal_the_textbook_formula_with_an_explicit_hat_matrix(
    random_rows: RowMaker, plan: QuantizationPlan, count: int, width: int
) -> None:
    rows = random_rows(count, width, seed=count)
    scores = choose_mu(fold(rows, plan), plan).scores
    phi = plan.phi_values(rows.phi)
    t = np.ldexp(targets(rows, plan).astype(np.float64), -plan.target_exponent)
    assert any(math.isfinite(value) for value in scores)
    for mu, got in zip(DEFAULT_GRID, scores, strict=True):
        ridge = count * mu
        # phi (phi^T phi + r I)^-1 phi^T = K (K + r I)^-1, and I - S = r (K + r I)^-1: well conditioned for n <= d too.
        left_over = ridge * np.linalg.inv(phi @ phi.T + ridge * np.eye(count))
        expected = float(np.square(left_over @ t).sum()) / count / (np.trace(left_over) / count) ** 2
        if math.isfinite(got):
            # The misfit is a difference of numbers up to 2^30 times larger.
            assert got == pytest.approx(expected, rel=2**30 * width * count * np.finfo(float).eps)
        else:
            assert np.square(left_over @ t).sum() <= 2 * gcv.SMALLEST_MISFIT * np.square(t).sum()


def test_noise_asks_for_a_larger_ridge_than_signal(random_rows: RowMaker, plan: QuantizationPlan) -> None:
    rows = random_rows(60, 12)
    quiet, loud = (choose_mu(fold(learnable(rows, plan, noise), plan), plan).mu for noise in (0.01, 10.0))
    assert quiet < loud


def test_among_nearly_equal_scores_the_largest_ridge_wins(random_rows: RowMaker, plan: QuantizationPlan) -> None:
    statistics = fold(learnable(random_rows(200, 6), plan, 0.3), plan)
    grid = (1e-12, 2e-12, 4e-12, 1e3)
    choice = choose_mu(statistics, plan, grid, residual_budget=1e3)
    assert max(choice.scores[:3]) < min(choice.scores[:3]) * (1 + 1e-6) < choice.scores[3]
    assert choice.mu == 4e-12


def test_a_ridge_that_cannot_be_proved_is_passed_over(random_rows: RowMaker, plan: QuantizationPlan) -> None:
    statistics = fold(learnable(random_rows(300, 6), plan, 1e-3), plan)
    grid = (1e-13, 1e-2, 1.0)
    choice, free = choose_mu(statistics, plan, grid), choose_mu(statistics, plan, grid, residual_budget=1.0)
    assert (free.mu, choice.mu, free.scores) == (1e-13, 1e-2, choice.scores)
    with pytest.raises(ProblemRefused):
        solve_exact(statistics, plan, mu=1e-13, residual_budget=default_residual_budget(plan, 6, 1e-13))
    solve_exact(statistics, plan, mu=1e-2, residual_budget=default_residual_budget(plan, 6, 1e-2))


def test_if_none_can_be_proved_the_largest_is_left_for_the_solver_to_refuse(
    random_rows: RowMaker, plan: QuantizationPlan
) -> None:
    assert choose_mu(fold(random_rows(30), plan), plan, residual_budget=1e-300).mu == DEFAULT_GRID[-1]


def test_without_records_or_targets_the_largest(random_rows: RowMaker, plan: QuantizationPlan) -> None:
    zero = Statistics.zero(6, 3)
    silent = Statistics(fold(random_rows(10), plan).gram, zero.cross, 10, 0)
    assert choose_mu(zero, plan).mu == choose_mu(silent, plan).mu == DEFAULT_GRID[-1]


@given(seed=st.integers(0, 2**31), actions=st.lists(st.tuples(st.booleans(), st.integers(0, 15)), max_size=40))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_after_any_history_ridge_weights_and_digests_are_those_of_never_having_seen(
    random_rows: RowMaker, plan: QuantizationPlan, seed: int, actions: list[tuple[bool, int]]
) -> None:
    pool = random_rows(16, WIDTH, seed)
    lived, held = Statistics.zero(WIDTH, 3), set[int]()
    for add, record in actions:
        row = pool.take([record])
        if add and record not in held:
            lived, held = lived.plus(row, plan), held | {record}
        elif not add and record in held:
            lived, held = lived.minus(row, plan), held - {record}
    survivors = sorted(held)
    random.Random(seed).shuffle(survivors)
    never = fold(pool.take(survivors), plan)
    left, right = choose_mu(lived, plan), choose_mu(never, plan)
    assert (left.mu.hex(), left.scores) == (right.mu.hex(), right.scores)
    assert weight_bytes(lived, plan, left.mu) == weight_bytes(never, plan, right.mu)
    digests = [weights.digest(KEY, weight_bytes(s, plan, c.mu)) for s, c in ((lived, left), (never, right))]
    assert digests[0] == digests[1]


def weight_bytes(statistics: Statistics, plan: QuantizationPlan, mu: float) -> bytes:
    return weights.weights_to_bytes(solve_exact(statistics, plan, mu=mu, residual_budget=1e-3).weights)


def test_a_ridge_kept_from_before_the_forget_would_tell(random_rows: RowMaker, plan: QuantizationPlan) -> None:
    """The comparison above could fail: keeping the old mu gives other weights, although the statistics are the same."""
    quiet = learnable(random_rows(40, WIDTH), plan, 0.01)
    loud = learnable(random_rows(40, WIDTH, seed=1), plan, 20.0, seed=1)
    with_loud = fold(quiet, plan).plus(loud, plan)
    without = with_loud.minus(loud, plan)
    stale, fresh = choose_mu(with_loud, plan).mu, choose_mu(without, plan).mu
    assert without.to_bytes() == fold(quiet, plan).to_bytes()
    assert stale != fresh
    assert weight_bytes(without, plan, stale) != weight_bytes(without, plan, fresh)


def test_the_same_statistics_give_the_same_bits_again(random_rows: RowMaker, plan: QuantizationPlan) -> None:
    statistics = fold(random_rows(300, 90), plan)
    first = choose_mu(statistics, plan)
    for _ in range(5):
        restored = Statistics.from_bytes(statistics.to_bytes())
        again = choose_mu(restored, plan)
        assert [value.hex() for value in again.scores] == [value.hex() for value in first.scores]


@pytest.mark.parametrize("wrong", [(), (0.1, 0.1), (0.2, 0.1), (0.0, 1.0), (0.1, math.inf), (math.nan,)])
def test_refuses_wrong_grids(plan: QuantizationPlan, wrong: tuple[float, ...]) -> None:
    with pytest.raises(OutOfRange, match="grid of mu"):
        choose_mu(Statistics.zero(4, 3), plan, wrong)


def test_refuses_another_number_of_classes(plan: QuantizationPlan) -> None:
    with pytest.raises(ShapeMismatch, match="columns"):
        choose_mu(Statistics.zero(4, 2), plan)
