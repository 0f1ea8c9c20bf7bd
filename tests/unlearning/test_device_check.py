"""A device must multiply integers exactly."""

import pytest
import torch

from unlearning.device_check import IntegerProduct, check_integer_products, products_of
from unlearning.errors import DeviceRefused, OutOfRange
from unlearning.quantization import QuantizationPlan

CPU = torch.device("cpu")


def test_the_processor_passes_in_every_shape_used(plan: QuantizationPlan) -> None:
    check_integer_products(CPU, products_of(plan, 33, rows=200), torch.Generator().manual_seed(1))


def test_float32_is_refused(plan: QuantizationPlan) -> None:
    for shape in products_of(plan, 33, rows=200):
        with pytest.raises(DeviceRefused):
            check_integer_products(CPU, [shape], torch.Generator().manual_seed(1), dtype=torch.float32)


def test_products_beyond_float64_are_not_tried() -> None:
    with pytest.raises(OutOfRange):
        check_integer_products(CPU, [IntegerProduct(2**20, 2, 2, 18, 18)], torch.Generator())
