"""A worker refuses a device that is not there, or that multiplies wrongly."""

from __future__ import annotations

import pytest
import torch

from unlearning.device_check import IntegerProduct, check_integer_products
from unlearning.errors import DeviceRefused, OutOfRange
from workers import self_test
from workers.errors import DeviceMissing
from workers.self_test import check_device, shapes


def test_the_processor_passes() -> None:
    check_device("cpu", torch.Generator().manual_seed(1))


def test_every_shape_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    beyond = IntegerProduct(2**20, 2, 2, 18, 18)  # more than float64 holds, which only trying it tells
    monkeypatch.setattr(self_test, "shapes", lambda: [*shapes(), beyond])
    with pytest.raises(OutOfRange):
        check_device("cpu", torch.Generator().manual_seed(1))


def test_a_device_that_is_not_there_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceMissing, match="queue cpu"):
        check_device("cuda", torch.Generator())


def test_the_shapes_tell_float32_apart() -> None:
    refused = 0
    for shape in shapes():
        try:
            check_integer_products(torch.device("cpu"), [shape], torch.Generator().manual_seed(1), dtype=torch.float32)
        except DeviceRefused:
            refused += 1
    assert refused == len(shapes())
