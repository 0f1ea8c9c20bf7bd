"""Refusing a device that does not multiply integers exactly, before any job runs on it.

Exact statistics rest on float64 products of integers being exact (THEORY: exact mode). Products like those that the
statistics of models form, over some widths and numbers of rows, are tried with random full-range integers.
"""

from __future__ import annotations

import torch

from unlearning.device_check import IntegerProduct, check_integer_products
from unlearning.quantization import PHI_BITS, TARGET_BITS
from workers.errors import DeviceMissing

WIDTHS = (7, 64, 513, 1024)
ROWS = (1, 37, 256)
CLASSES = (2, 10)


def shapes() -> list[IntegerProduct]:
    """Return the products that are tried."""
    square = [IntegerProduct(rows, width, width, PHI_BITS, PHI_BITS) for width in WIDTHS for rows in ROWS]
    cross = [
        IntegerProduct(rows, width, classes, PHI_BITS, TARGET_BITS)
        for width in WIDTHS
        for rows in ROWS
        for classes in CLASSES
    ]
    return square + cross


def check_device(name: str, generator: torch.Generator) -> None:
    """Test one device: cpu, cuda or cuda:N. Opens CUDA in this process if it is asked for.

    Raises DeviceMissing; DeviceRefused: it is there, and a product was wrong.
    """
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise DeviceMissing(name)
    check_integer_products(device, shapes(), generator)
