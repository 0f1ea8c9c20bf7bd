"""Exact integer sums: against a dense reference, across orders, blocks, splits and threads."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch

from unlearning.errors import CapacityExceeded, CorruptArtifact, NeverAdded, OutOfRange, ShapeMismatch
from unlearning.quantization import QuantizationPlan
from unlearning.rows import QuantizedRows, targets
from unlearning.statistics import PANEL, Statistics

RowMaker = Callable[..., QuantizedRows]


def reference(rows: QuantizedRows, plan: QuantizationPlan) -> Statistics:
    """Integer arithmetic without float64: numpy multiplies int64 without BLAS."""
    phi, residual = rows.phi.astype(np.int64), targets(rows, plan)
    return Statistics(phi.T @ phi, phi.T @ residual, rows.count, sum(int(v) ** 2 for v in residual.ravel()))


@pytest.mark.parametrize("width", [1, 6, PANEL + 3, 2 * PANEL])
def test_sums_equal_integer_arithmetic(random_rows: RowMaker, plan: QuantizationPlan, width: int) -> None:
    rows = random_rows(40, width)
    got = Statistics.zero(width, plan.classes).plus(rows, plan)
    expected = reference(rows, plan)
    assert np.array_equal(got.gram, expected.gram)
    assert np.array_equal(got.cross, expected.cross)
    assert (got.count, got.target_square) == (expected.count, expected.target_square)


def test_sums_are_exact_at_the_extremes_of_a_full_block(plan: QuantizationPlan) -> None:
    roomy = dataclasses.replace(plan, capacity=2**20)
    n = roomy.block_equations + 5
    signs = np.random.default_rng(0).choice([-1, 1], (n, 2))
    rows = QuantizedRows(
        (signs * roomy.phi_limit).astype(np.int16),
        np.full((n, 3), -roomy.core_limit, np.int32),
        np.zeros(n, np.int32),
    )
    got = Statistics.zero(2, 3).plus(rows, roomy)
    assert np.array_equal(got.gram, reference(rows, roomy).gram)
    assert np.array_equal(got.cross, reference(rows, roomy).cross)


def test_float32_products_would_not_be_exact(random_rows: RowMaker, plan: QuantizationPlan) -> None:
    """The negative control of this file: the same comparison sees float32's rounding."""
    rows = random_rows(40)
    single = rows.phi.astype(np.float32)
    assert not np.array_equal((single.T @ single).astype(np.int64), reference(rows, plan).gram)


def test_order_blocks_splits_and_threads_do_not_matter(
    random_rows: RowMaker, plan: QuantizationPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = random_rows(101, 50)
    zero = Statistics.zero(50, plan.classes)
    expected = zero.plus(rows, plan).to_bytes()
    order = np.random.default_rng(1).permutation(101)
    assert zero.plus(rows.take(order), plan).to_bytes() == expected
    one_by_one = zero
    for index in order:
        one_by_one = one_by_one.plus(rows.take([index]), plan)
    assert one_by_one.to_bytes() == expected
    left, right = zero.plus(rows.take(order[:30]), plan), zero.plus(rows.take(order[30:]), plan)
    assert left.merge(right).to_bytes() == expected
    monkeypatch.setattr(QuantizationPlan, "block_equations", 7)
    assert zero.plus(rows, plan).to_bytes() == expected
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        assert zero.plus(rows, plan).to_bytes() == expected
    finally:
        torch.set_num_threads(threads)


def test_operations_leave_their_operands_alone(random_rows: RowMaker, plan: QuantizationPlan) -> None:
    base = Statistics.zero(6, plan.classes).plus(random_rows(10), plan)
    before = base.to_bytes()
    base.plus(random_rows(3, seed=1), plan)
    base.minus(random_rows(10), plan)
    assert base.to_bytes() == before


def test_capacity_and_zero_are_limits(random_rows: RowMaker, plan: QuantizationPlan) -> None:
    full = Statistics.zero(6, plan.classes).plus(random_rows(plan.capacity), plan)
    with pytest.raises(CapacityExceeded):
        full.plus(random_rows(1, seed=1), plan)
    some = Statistics.zero(6, plan.classes).plus(random_rows(2), plan)
    with pytest.raises(NeverAdded):
        some.minus(random_rows(3), plan)


def test_gross_mistakes_show_at_once(random_rows: RowMaker, plan: QuantizationPlan) -> None:
    some = Statistics.zero(6, plan.classes).plus(random_rows(2), plan)
    with pytest.raises(NeverAdded, match=r"not zero|negative"):
        some.minus(random_rows(2, seed=1), plan)
    assert some.minus(random_rows(2), plan).to_bytes() == Statistics.zero(6, plan.classes).to_bytes()


def test_merge_refuses_what_could_overflow() -> None:
    huge = Statistics(np.full((1, 1), 2**61 + 1), np.zeros((1, 2), np.int64), 1, 0)
    with pytest.raises(OutOfRange):
        huge.merge(huge)
    with pytest.raises(ShapeMismatch):
        huge.merge(Statistics.zero(2, 2))


def test_rows_of_another_model_are_refused(random_rows: RowMaker, plan: QuantizationPlan) -> None:
    with pytest.raises(ShapeMismatch):
        Statistics.zero(5, plan.classes).plus(random_rows(1, 6), plan)
    with pytest.raises(ShapeMismatch):
        Statistics.zero(6, 4).plus(random_rows(1, 6), plan)


@pytest.mark.parametrize("width", [1, 6, PANEL + 3])
def test_bytes_round_trip(random_rows: RowMaker, plan: QuantizationPlan, width: int) -> None:
    original = Statistics.zero(width, plan.classes).plus(random_rows(8, width), plan)
    restored = Statistics.from_bytes(original.to_bytes())
    assert np.array_equal(restored.gram, original.gram)
    assert np.array_equal(restored.cross, original.cross)
    assert (restored.count, restored.target_square) == (original.count, original.target_square)
    assert restored.to_bytes() == original.to_bytes()


def test_corrupt_bytes_are_refused(random_rows: RowMaker, plan: QuantizationPlan) -> None:
    data = Statistics.zero(6, plan.classes).plus(random_rows(8), plan).to_bytes()
    for broken in (b"", data[:20], data[:-1], data + b"\0", b"X" + data[1:], data[:31] + b"\xff" + data[32:]):
        with pytest.raises(CorruptArtifact):
            Statistics.from_bytes(broken)


def test_digest_depends_on_the_key_and_on_every_bit(random_rows: RowMaker, plan: QuantizationPlan) -> None:
    original = Statistics.zero(2, plan.classes).plus(random_rows(8, 2), plan)
    digest = original.digest(b"k")
    assert original.digest(b"other") != digest
    data = original.to_bytes()
    for position in range(40, len(data)):
        flipped = bytearray(data)
        flipped[position] ^= 1
        assert Statistics.from_bytes(bytes(flipped)).digest(b"k") != digest
