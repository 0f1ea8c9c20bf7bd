"""Refuse devices that do not multiply integers exactly."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from unlearning.errors import DeviceRefused, OutOfRange
from unlearning.quantization import BLOCK_BITS, QuantizationPlan, sum_bits


@dataclass(frozen=True, slots=True)
class IntegerProduct:
    """A product L^T R: `rows` terms, L (rows, left) of left_bits, R (rows, right) of right_bits, both signed."""

    rows: int
    left: int
    right: int
    left_bits: int
    right_bits: int


def products_of(plan: QuantizationPlan, width: int, rows: int) -> tuple[IntegerProduct, IntegerProduct]:
    """Return the products that statistics of `width` columns form from `rows` records at once."""
    terms = min(rows * plan.equations_per_record, plan.block_equations)
    return (
        IntegerProduct(terms, width, width, plan.phi_bits, plan.phi_bits),
        IntegerProduct(terms, width, plan.columns, plan.phi_bits, plan.target_bits),
    )


def check_integer_products(
    device: torch.device,
    shapes: Sequence[IntegerProduct],
    generator: torch.Generator,
    *,
    dtype: torch.dtype = torch.float64,
) -> None:
    """Multiply random full-range integers of every shape on `device`, and check each product exactly.

    Checked as P v = L^T (R v) in wrapping int64 on the CPU with a random 64-bit v: O(rows * width), and an error of
    one unit is missed with probability 2^-63. Random signs and low bits matter: all-equal extremes pass in float32.
    `dtype` is what multiplies; other than float64 it is the negative control.
    Raises DeviceRefused; OutOfRange: a product that float64 cannot hold.
    """
    for shape in shapes:
        bits = sum_bits(shape.left_bits, shape.right_bits, shape.rows)
        if bits > BLOCK_BITS:
            raise OutOfRange("bits of a block product", bits, f"<= {BLOCK_BITS}")
        left = random_integers(shape.rows, shape.left, shape.left_bits, generator)
        right = random_integers(shape.rows, shape.right, shape.right_bits, generator)
        product = (left.to(dtype).to(device).T @ right.to(dtype).to(device)).cpu().double()
        v = torch.randint(-(2**63), 2**63 - 1, (shape.right, 1), generator=generator, dtype=torch.int64)
        whole = torch.equal(product, product.round()) and float(product.abs().max()) < 2.0**53
        if not whole or not torch.equal(product.to(torch.int64) @ v, left.T @ (right @ v)):
            raise DeviceRefused(str(device), shape)


def random_integers(rows: int, columns: int, bits: int, generator: torch.Generator) -> torch.Tensor:
    """Return uniform integers in +-(2^(bits-1) - 1)."""
    limit = 2 ** (bits - 1) - 1
    return torch.randint(-limit, limit + 1, (rows, columns), generator=generator, dtype=torch.int64)
