"""Standard normal numbers in float64 from bytes of a cryptographic generator that the caller hands in.

Each number takes 64 bits: one for the sign, 63 for a uniform u = (2k + 1) 2^-65 in (0, 1/2), and is the inverse
distribution function of u with that sign. Working from the lower tail keeps u exact where it is small.

What is cut off. A draw stands for a cell of probability 2^-64, and the outermost cell reaches to infinity, so no draw
exceeds LARGEST, about 9.1. In nats: let z have the truncated law and let the reference keep the full normal law Q.
Information is bounded by KL to *any* fixed reference. log p/q is linear in z and the truncated law has mean zero, so
KL(truncated, shifted || Q) = KL(full, shifted || Q) - log(1 - P(|z| > LARGEST)) per coordinate: `truncation_nats`, less
than 6e-15 for 100,000 weights. What the cells' width adds is not in that number: neighbouring draws are 1e-19 apart
near zero and 1e-5 at 8 standard deviations, out to there less than the grid on which weights are released (`release`).
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from unlearning.errors import OutOfRange, ShapeMismatch

RandomBytes = Callable[[int], bytes]
"""n -> n bytes of a cryptographic generator, for instance `secrets.token_bytes`. Never seeded, never stored."""

WORD = 8
LARGEST = -float(torch.special.ndtri(torch.tensor(2.0**-65, dtype=torch.float64)))
"""No draw is larger in magnitude."""


def standard_normals(shape: tuple[int, ...], random: RandomBytes) -> Tensor:
    """Return independent N(0, 1) numbers, float64, of the given shape; eight random bytes each.

    Raises OutOfRange: a negative length; ShapeMismatch: `random` returned another number of bytes.
    """
    if any(length < 0 for length in shape):
        raise OutOfRange("shape of the noise", shape, "lengths >= 0")
    count = math.prod(shape)
    raw = random(WORD * count)
    if len(raw) != WORD * count:
        raise ShapeMismatch("bytes of the random source", len(raw), WORD * count)
    words = np.frombuffer(raw, dtype="<u8")
    # Setting the lowest bit makes 2k + 1 of the other 63; that bit itself decides the sign, so the two are independent.
    lower_tail = np.ldexp((words | np.uint64(1)).astype(np.float64), -65)
    sign = 1.0 - 2.0 * (words & np.uint64(1)).astype(np.float64)
    normals: Tensor = torch.special.ndtri(torch.from_numpy(lower_tail)) * torch.from_numpy(sign)
    return normals.reshape(shape)


def truncation_nats(count: int) -> float:
    """Return what cutting the tails of `count` draws adds to any bound that treats them as normal, in nats.

    Raises OutOfRange: a negative count.
    """
    if count < 0:
        raise OutOfRange("count", count, ">= 0")
    return -count * math.log1p(-(2.0**-64))
