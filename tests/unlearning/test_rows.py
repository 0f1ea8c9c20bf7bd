"""Stored records: packing, checks, targets."""

from collections.abc import Callable

import numpy as np
import pytest

from unlearning.errors import CorruptArtifact, OutOfRange, ShapeMismatch
from unlearning.quantization import QuantizationPlan
from unlearning.rows import QuantizedRows, join, pack, row_bytes, targets, unpack

RowMaker = Callable[..., QuantizedRows]


def same(left: QuantizedRows, right: QuantizedRows) -> bool:
    return (
        np.array_equal(left.phi, right.phi)
        and np.array_equal(left.core_output, right.core_output)
        and np.array_equal(left.labels, right.labels)
    )


@pytest.mark.parametrize("count", [0, 1, 17])
def test_packing_round_trips_with_fixed_length(random_rows: RowMaker, plan: QuantizationPlan, count: int) -> None:
    rows = random_rows(count, width=5)
    packed = pack(rows)
    assert [len(record) for record in packed] == [row_bytes(5, plan.classes)] * count
    assert same(unpack(packed, 5, plan.classes), rows)


def test_layout_is_little_endian_phi_core_label() -> None:
    rows = QuantizedRows(np.array([[1, -2]], np.int16), np.array([[3, -4]], np.int32), np.array([1], np.int32))
    assert pack(rows) == [bytes.fromhex("0100feff03000000fcffffff01000000")]


def test_a_record_packs_alike_alone_and_among_others(random_rows: RowMaker) -> None:
    rows = random_rows(9)
    assert pack(rows)[4] == pack(rows.take([4]))[0]
    assert same(join([rows.take(slice(0, 4)), rows.take(slice(4, None))]), rows)


def test_wrong_lengths_are_corrupt(random_rows: RowMaker, plan: QuantizationPlan) -> None:
    packed = pack(random_rows(2))
    with pytest.raises(CorruptArtifact):
        unpack([packed[0], packed[1][:-1]], 6, plan.classes)


def test_targets_are_alpha_onehot_minus_core(random_rows: RowMaker, plan: QuantizationPlan) -> None:
    rows = random_rows(20)
    expected = plan.alpha_int * np.eye(plan.classes, dtype=np.int64)[rows.labels] - rows.core_output
    assert np.array_equal(targets(rows, plan), expected)


def test_rows_outside_the_plan_are_refused(random_rows: RowMaker, plan: QuantizationPlan) -> None:
    rows = random_rows(3)
    for label in (-1, plan.classes):
        with pytest.raises(OutOfRange, match="label"):
            targets(rows.relabelled(np.array([0, label, 1], np.int32)), plan)
    lowest = rows.phi.copy()
    lowest[1, 1] = -(2**15)  # the one int16 whose magnitude is not one
    with pytest.raises(OutOfRange, match="feature"):
        targets(QuantizedRows(lowest, rows.core_output, rows.labels), plan)
    large = rows.core_output.copy()
    large[0, 0] = -plan.core_limit - 1
    with pytest.raises(OutOfRange, match="core output"):
        targets(QuantizedRows(rows.phi, large, rows.labels), plan)


def test_shapes_and_dtypes_are_checked(random_rows: RowMaker) -> None:
    rows = random_rows(3)
    with pytest.raises(ShapeMismatch):
        QuantizedRows(rows.phi[:2], rows.core_output, rows.labels)
    with pytest.raises(ShapeMismatch):
        QuantizedRows(rows.phi.astype(np.int32), rows.core_output, rows.labels)  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(OutOfRange):
        join([])
