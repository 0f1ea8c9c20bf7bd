"""Exact mode with features per output: sums, limits, transition, ridge and weights against dense references."""

import dataclasses
import math
import os
import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from unlearning.device_check import check_integer_products, products_of
from unlearning.errors import CorruptArtifact, OutOfRange, ShapeMismatch
from unlearning.exact_solver import solve_exact
from unlearning.gcv import choose_mu
from unlearning.quantization import BLOCK_BITS, TOTAL_BITS, QuantizationPlan, plan_quantization, sum_bits
from unlearning.residual import check_residual, default_residual_budget
from unlearning.rows import QuantizedRows, join, pack, row_bytes, targets, unpack
from unlearning.statistics import Statistics
from unlearning.transition import MISS_BITS, check_transition, draws
from unlearning.weights import weights_to_bytes

WIDTH, CLASSES, POOL = 5, 3, 24
RowMaker = Callable[..., QuantizedRows]


@pytest.fixture(scope="module")
def tangent_plan(plan: QuantizationPlan) -> QuantizationPlan:
    return dataclasses.replace(plan, per_output=True)


@pytest.fixture(scope="module")
def rows_of(tangent_plan: QuantizationPlan) -> RowMaker:
    """A function (count, width, seed) -> rows (count, C, width) that use the plan's whole range."""
    plan = tangent_plan

    def make(count: int, width: int = WIDTH, seed: int = 0) -> QuantizedRows:
        draw = np.random.default_rng(seed).integers
        return QuantizedRows(
            draw(-plan.phi_limit, plan.phi_limit + 1, (count, CLASSES, width)).astype(np.int16),
            draw(-plan.core_limit, plan.core_limit + 1, (count, CLASSES)).astype(np.int32),
            draw(0, CLASSES, count).astype(np.int32),
        )

    return make


def fold(rows: QuantizedRows, plan: QuantizationPlan) -> Statistics:
    return Statistics.zero(rows.width, plan.columns).plus(rows, plan)


@pytest.mark.parametrize("count", [0, 1, 40])
def test_sums_equal_integer_arithmetic(
    rows_of: RowMaker, tangent_plan: QuantizationPlan, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = rows_of(count)
    phi, wanted = rows.phi.astype(np.int64), targets(rows, tangent_plan)
    got = fold(rows, tangent_plan)
    assert np.array_equal(got.gram, np.einsum("ncj,nck->jk", phi, phi))
    assert np.array_equal(got.cross, np.einsum("ncj,nc->j", phi, wanted)[:, None])
    assert (got.count, got.target_square) == (count, int((wanted**2).sum()))
    monkeypatch.setattr(QuantizationPlan, "block_equations", 7)  # cuts through a record
    assert fold(rows, tangent_plan).to_bytes() == got.to_bytes()
    assert Statistics.from_bytes(got.to_bytes()).to_bytes() == got.to_bytes()


def test_packing_round_trips_output_by_output(rows_of: RowMaker) -> None:
    rows = rows_of(4)
    packed = pack(rows)
    assert [len(one) for one in packed] == [row_bytes(WIDTH, CLASSES, per_output=True)] * 4
    assert packed[2][: 2 * WIDTH] == rows.phi[2, 0].astype("<i2").tobytes()
    again = unpack(packed, WIDTH, CLASSES, per_output=True)
    for name in ("phi", "core_output", "labels"):
        assert np.array_equal(getattr(again, name), getattr(rows, name))
    assert pack(QuantizedRows.empty(WIDTH, CLASSES, per_output=True)) == []
    assert join([rows.take([0]), rows.take([1])]).phi.shape == (2, CLASSES, WIDTH)
    with pytest.raises(CorruptArtifact):
        unpack(packed, WIDTH, CLASSES)


def test_the_two_kinds_are_not_mixed_up(
    rows_of: RowMaker, plan: QuantizationPlan, tangent_plan: QuantizationPlan
) -> None:
    rows = rows_of(3)
    with pytest.raises(ShapeMismatch, match="per output"):
        targets(rows, plan)
    with pytest.raises(ShapeMismatch):
        QuantizedRows(rows.phi[:, :2], rows.core_output, rows.labels)
    with pytest.raises(ShapeMismatch):
        Statistics.zero(WIDTH, CLASSES).plus(rows, tangent_plan)
    shared = QuantizedRows(rows.phi[:, 0], rows.core_output, rows.labels)
    with pytest.raises(ShapeMismatch, match="per output"):
        fold(rows, tangent_plan).plus(shared, tangent_plan)
    with pytest.raises(ShapeMismatch):
        check_residual(fold(rows, tangent_plan), tangent_plan, np.zeros((WIDTH, CLASSES)), mu=1.0, residual_budget=1.0)


def test_plans_of_shared_maps_keep_their_fields(plan: QuantizationPlan, tangent_plan: QuantizationPlan) -> None:
    assert "per_output" not in plan.to_fields()
    again = QuantizationPlan.from_fields(tangent_plan.to_fields())
    assert again == tangent_plan
    assert again.to_fields() == tangent_plan.to_fields()
    assert (plan.columns, tangent_plan.columns) == (CLASSES, 1)


@pytest.mark.parametrize("classes", [2, 10, 1000])
@pytest.mark.parametrize("capacity", [1, 1000, 2**22])
def test_every_sum_counts_records_times_outputs(classes: int, capacity: int) -> None:
    draw = np.random.default_rng(0).normal
    plan = plan_quantization(
        draw(size=(9, classes, 4)), draw(size=(9, classes)), alpha=5.0, capacity=capacity, classes=classes
    )
    assert plan.per_output
    terms = capacity * classes
    for right in (plan.phi_bits, plan.target_bits):
        assert sum_bits(plan.phi_bits, right, terms) <= TOTAL_BITS
        assert sum_bits(plan.phi_bits, right, plan.block_equations) <= BLOCK_BITS


def test_limits_that_a_shared_map_keeps_are_refused_per_output(plan: QuantizationPlan) -> None:
    widest = dataclasses.replace(plan, phi_bits=16, target_bits=14, alpha_int=5, core_limit=8000, capacity=2**31)
    with pytest.raises(OutOfRange, match="full capacity"):
        dataclasses.replace(widest, capacity=2**31, per_output=True)


def test_products_that_are_formed_are_the_ones_a_device_is_tried_with(tangent_plan: QuantizationPlan) -> None:
    gram, cross = products_of(tangent_plan, WIDTH, 11)
    assert (gram.rows, cross.right) == (11 * CLASSES, 1)
    check_integer_products(torch.device("cpu"), (gram, cross), torch.Generator().manual_seed(0))


def test_weights_and_scores_equal_a_dense_reference(rows_of: RowMaker, tangent_plan: QuantizationPlan) -> None:
    """n in the loss is the number of records; the score counts n C equations. Tolerance: 100 cond(H) eps."""
    plan, mu, rows = tangent_plan, 0.3, rows_of(30)
    statistics = fold(rows, plan)
    phi = plan.phi_values(rows.phi).reshape(-1, WIDTH)
    wanted = np.ldexp(targets(rows, plan).astype(np.float64), -plan.target_exponent).reshape(-1, 1)
    hessian = phi.T @ phi / 30 + mu * np.eye(WIDTH)
    expected = np.linalg.solve(hessian, phi.T @ wanted / 30)
    got = solve_exact(statistics, plan, mu=mu, residual_budget=default_residual_budget(plan, WIDTH, mu)).weights
    tolerance = 100 * np.linalg.cond(hessian) * np.finfo(float).eps
    assert np.linalg.norm(got - expected) < tolerance * np.linalg.norm(expected)
    grid = (0.1, 1.0, 10.0, 100.0, 1000.0)
    scores = []
    for candidate in grid:
        hat = phi @ np.linalg.solve(phi.T @ phi + 30 * candidate * np.eye(WIDTH), phi.T)
        left = wanted - hat @ wanted
        scores.append(float((left**2).mean() / (np.trace(np.eye(90) - hat) / 90) ** 2))
    assert np.allclose(choose_mu(statistics, plan, grid).scores, scores, rtol=1e-9)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, POOL - 1)), max_size=30), st.integers(0, 2**31))
@settings(max_examples=100, deadline=None)
@example([(True, 1), (False, 1), (True, 1)], 0)
@example([(True, 1), (False, 1)], 0)
def test_removed_equals_never_seen(
    rows_of: RowMaker, tangent_plan: QuantizationPlan, steps: list[tuple[bool, int]], seed: int
) -> None:
    plan, pool = tangent_plan, rows_of(POOL, seed=seed)
    nobody = QuantizedRows.empty(WIDTH, CLASSES, per_output=True)
    lived, held = Statistics.zero(WIDTH, 1), list[int]()
    for adds, record in steps:
        one, before = pool.take([record]), lived
        if adds and record not in held:
            held.append(record)
            lived = lived.plus(one, plan)
            assert check_transition(before, lived, [], [one], plan, os.urandom).passed
        elif not adds and record in held:
            held.remove(record)
            lived = lived.minus(one, plan)
            assert check_transition(before, lived, [one], [nobody], plan, os.urandom).passed
    random.Random(seed).shuffle(held)
    never = Statistics.zero(WIDTH, 1).plus(pool.take(held), plan)
    assert lived.to_bytes() == never.to_bytes()
    weights = [weights_to_bytes(solve_exact(s, plan, mu=0.1, residual_budget=1.0).weights) for s in (lived, never)]
    assert weights[0] == weights[1]


def test_negative_controls_of_the_transition_fail(rows_of: RowMaker, tangent_plan: QuantizationPlan) -> None:
    plan, rows = tangent_plan, rows_of(12)
    before, gone = fold(rows, plan), rows.take([3, 7])
    honest = before.minus(gone, plan)
    one_output = rows.take([3])
    one_output.phi[0, 1] = 0  # all but one output's features leave
    relabelled = gone.relabelled((gone.labels + 1) % CLASSES)
    wrong = {
        "skipped": (before, {"gram", "cross", "count"}),
        "a record left in": (before.minus(rows.take([3]), plan), {"gram", "cross", "count"}),
        "an output of a record left in": (before.minus(join([one_output, rows.take([7])]), plan), {"gram", "cross"}),
        "its label changed": (before.minus(relabelled, plan), {"cross"}),
        "its target left in": (dataclasses.replace(honest, cross=before.cross), {"cross"}),
        "not counted": (dataclasses.replace(honest, count=before.count), {"count"}),
    }
    assert check_transition(before, honest, [gone], [], plan, os.urandom).passed
    for name, (after, failed) in wrong.items():
        report = check_transition(before, after, [gone], [], plan, os.urandom)
        assert failed <= set(report.failures), (name, report.failures)


@pytest.mark.parametrize("capacity", [1, 1000, 2**22, 2**29])
@pytest.mark.parametrize("per_output", [False, True])
def test_as_many_vectors_are_drawn_as_the_widths_ask_for(
    plan: QuantizationPlan, capacity: int, per_output: bool
) -> None:
    wide = dataclasses.replace(
        plan, target_bits=16, alpha_int=5, core_limit=8000, capacity=capacity, per_output=per_output
    )
    largest = capacity * wide.equations_per_record * wide.phi_limit * max(wide.phi_limit, wide.target_limit)
    worst = 2 ** math.floor(math.log2(2 * largest))  # the difference with the most factors of two
    missed = math.gcd(worst, 2**64) / 2**64
    assert missed ** draws(wide) <= 2.0**-MISS_BITS
