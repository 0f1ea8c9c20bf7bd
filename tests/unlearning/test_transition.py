"""The certifier's first check, and every way of forgetting wrongly that it must see."""

import dataclasses
import os
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unlearning.errors import ShapeMismatch
from unlearning.exact_solver import solve_exact
from unlearning.quantization import QuantizationPlan
from unlearning.residual import check_residual, default_residual_budget
from unlearning.rows import QuantizedRows
from unlearning.statistics import Statistics
from unlearning.transition import TransitionReport, check_transition

RowMaker = Callable[..., QuantizedRows]
RowsToStatistics = Callable[[QuantizedRows], Statistics]


@pytest.fixture(scope="module")
def fold(plan: QuantizationPlan) -> RowsToStatistics:
    """A function rows -> their statistics."""
    return lambda rows: Statistics.zero(rows.phi.shape[1], plan.classes).plus(rows, plan)


@pytest.fixture
def rows(random_rows: RowMaker) -> QuantizedRows:
    return random_rows(12)


def check(
    before: Statistics, after: Statistics, plan: QuantizationPlan, *, removed: QuantizedRows, added: QuantizedRows
) -> TransitionReport:
    return check_transition(before, after, [removed], [added], plan, os.urandom)


NOTHING = QuantizedRows.empty(6, 3)


def test_honest_transitions_pass(rows: QuantizedRows, fold: RowsToStatistics, plan: QuantizationPlan) -> None:
    before, gone, new = fold(rows.take(slice(0, 9))), rows.take([2, 5]), rows.take(slice(9, 12))
    assert check(before, before.minus(gone, plan), plan, removed=gone, added=NOTHING).passed
    assert check(before, before.plus(new, plan), plan, removed=NOTHING, added=new).passed
    assert check(before, before.minus(gone, plan).plus(new, plan), plan, removed=gone, added=new).passed
    everything = rows.take(slice(0, 9))
    assert check(before, Statistics.zero(6, 3), plan, removed=everything, added=NOTHING).passed
    assert check(before, before, plan, removed=NOTHING, added=NOTHING).passed


def test_an_anchor_starts_from_zero(
    rows: QuantizedRows, fold: RowsToStatistics, plan: QuantizationPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unlearning.transition.BLOCK", 5)
    zero = Statistics.zero(6, 3)
    assert check(zero, fold(rows), plan, removed=NOTHING, added=rows).passed
    assert not check(zero, fold(rows), plan, removed=NOTHING, added=rows.take(slice(0, 11))).passed


def test_negative_controls_fail_by_name(rows: QuantizedRows, fold: RowsToStatistics, plan: QuantizationPlan) -> None:
    before, gone = fold(rows), rows.take([3, 7])
    honest = before.minus(gone, plan)
    wrong_label = gone.relabelled((gone.labels + 1) % 3)
    cases: dict[str, tuple[Statistics, set[str]]] = {
        "skipped scrub": (before, {"gram", "cross", "count", "target_square"}),
        "one record left in": (before.minus(rows.take([3]), plan), {"gram", "cross", "count", "target_square"}),
        "one target left in": (
            dataclasses.replace(honest, cross=before.minus(rows.take([3]), plan).cross),
            {"cross"},
        ),
        "its squared target left in": (
            dataclasses.replace(honest, target_square=before.target_square),
            {"target_square"},
        ),
        "features left in": (dataclasses.replace(honest, gram=before.gram), {"gram"}),
        "counted as gone only": (dataclasses.replace(before, count=honest.count), {"gram", "cross", "target_square"}),
        "not counted as gone": (dataclasses.replace(honest, count=before.count), {"count"}),
        "wrong label": (before.minus(wrong_label, plan), {"cross", "target_square"}),
        "wrong sign": (before.plus(gone, plan), {"gram", "cross", "count", "target_square"}),
        "removed twice": (subtracted_unchecked(honest, gone, plan), {"gram", "cross", "count", "target_square"}),
        "another record removed": (before.minus(rows.take([3, 8]), plan), {"gram", "cross", "target_square"}),
    }
    for name, (after, expected) in cases.items():
        report = check(before, after, plan, removed=gone, added=NOTHING)
        assert not report.passed, name
        assert expected <= set(report.failures), (name, report.failures)
        if name in {"one target left in", "features left in", "not counted as gone", "its squared target left in"}:
            assert set(report.failures) - {"in_range"} == expected, name


def subtracted_unchecked(statistics: Statistics, rows: QuantizedRows, plan: QuantizationPlan) -> Statistics:
    """Subtract without the refusals of `Statistics.minus`, as a faulty service would."""
    once = Statistics.zero(statistics.width, statistics.columns).plus(rows, plan)
    return Statistics(
        statistics.gram - once.gram,
        statistics.cross - once.cross,
        statistics.count - once.count,
        statistics.target_square - once.target_square,
    )


def test_a_record_left_in_passes_the_residual_but_not_the_transition(
    rows: QuantizedRows, fold: RowsToStatistics, plan: QuantizationPlan
) -> None:
    """Why this check exists: the residual of the wrong statistics is as small as that of the right ones."""
    before, mu = fold(rows), 0.1
    left_in = before.minus(rows.take([3]), plan)
    budget = default_residual_budget(plan, 6, mu)
    solution = solve_exact(left_in, plan, mu=mu, residual_budget=budget)
    assert check_residual(left_in, plan, solution.weights, mu=mu, residual_budget=budget).passed
    assert not check(before, left_in, plan, removed=rows.take([3, 7]), added=NOTHING).passed


@given(
    part=st.sampled_from(["gram", "cross"]),
    row=st.integers(0, 5),
    column=st.integers(0, 5),
    bit=st.integers(0, 40),
    sign=st.sampled_from([-1, 1]),
)
@settings(max_examples=300, deadline=None)
def test_one_changed_integer_is_seen(
    random_rows: RowMaker, plan: QuantizationPlan, part: str, row: int, column: int, bit: int, sign: int
) -> None:
    rows = random_rows(12)
    before = Statistics.zero(6, 3).plus(rows, plan)
    gone = rows.take([1])
    after = before.minus(gone, plan)
    changed = getattr(after, part).copy()
    changed[row, column % changed.shape[1]] += sign * 2**bit
    report = check(before, dataclasses.replace(after, **{part: changed}), plan, removed=gone, added=NOTHING)
    assert part in report.failures


def test_multiples_of_the_largest_power_are_out_of_range(
    rows: QuantizedRows, fold: RowsToStatistics, plan: QuantizationPlan
) -> None:
    """2^63 times an even number is zero modulo 2^64: only the range shows such a change."""
    before = fold(rows)
    changed = before.gram.copy()
    changed[0, 0] += -(2**63)
    report = check_transition(
        before, dataclasses.replace(before, gram=changed), [NOTHING], [NOTHING], plan, lambda n: bytes(n)
    )
    assert report.gram  # v = 0 sees nothing
    assert report.failures == ("in_range",)


def test_vectors_are_drawn_once_both_statistics_exist(
    rows: QuantizedRows, fold: RowsToStatistics, plan: QuantizationPlan
) -> None:
    asked: list[int] = []

    def entropy(count: int) -> bytes:
        asked.append(count)
        return os.urandom(count)

    check_transition(fold(rows), fold(rows), [NOTHING], [NOTHING], plan, entropy)
    assert asked == [8 * 6 * 4, 8 * 3 * 4]


def test_other_shapes_are_refused(rows: QuantizedRows, fold: RowsToStatistics, plan: QuantizationPlan) -> None:
    with pytest.raises(ShapeMismatch):
        check(fold(rows), Statistics.zero(5, 3), plan, removed=NOTHING, added=NOTHING)
    with pytest.raises(ShapeMismatch):
        check(fold(rows), fold(rows), plan, removed=QuantizedRows.empty(5, 3), added=NOTHING)


def test_parts_of_any_size_are_one_sum(rows: QuantizedRows, fold: RowsToStatistics, plan: QuantizationPlan) -> None:
    whole = fold(rows)
    nothing = Statistics.zero(whole.width, whole.columns)
    parts = [rows.take(slice(start, start + 3)) for start in range(0, rows.count, 3)]
    assert check_transition(nothing, whole, [], parts, plan, os.urandom).passed
    assert check_transition(whole, nothing, parts, [], plan, os.urandom).passed
    assert not check_transition(nothing, whole, [], parts[:-1], plan, os.urandom).passed
