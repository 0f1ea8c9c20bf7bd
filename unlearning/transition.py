"""Proof that new statistics are the old ones minus the removed and plus the added records, and nothing else.

A residual computed from the statistics themselves proves the solve only; a record left in does not show there.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from unlearning.errors import ShapeMismatch
from unlearning.quantization import QuantizationPlan
from unlearning.rows import QuantizedRows, equations
from unlearning.statistics import Statistics

FEWEST_DRAWS = 4
MISS_BITS = 44
"""A wrong entry is missed with probability 2^-44 at most."""
BLOCK = 4096
"""Equations multiplied at once: bounds the memory when an anchor with millions of rows is checked."""

Vectors = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class TransitionReport:
    """One verdict per part; `in_range` says that no sum is larger than its record count allows."""

    gram: bool
    cross: bool
    count: bool
    target_square: bool
    in_range: bool

    @property
    def passed(self) -> bool:
        """Whether every part holds."""
        return not self.failures

    @property
    def failures(self) -> tuple[str, ...]:
        """Names of the parts that do not hold."""
        verdicts = (
            ("gram", self.gram),
            ("cross", self.cross),
            ("count", self.count),
            ("target_square", self.target_square),
            ("in_range", self.in_range),
        )
        return tuple(name for name, holds in verdicts if not holds)


def check_transition(
    before: Statistics,
    after: Statistics,
    removed: Iterable[QuantizedRows],
    added: Iterable[QuantizedRows],
    plan: QuantizationPlan,
    entropy: Callable[[int], bytes],
) -> TransitionReport:
    """Check (A_after - A_before) v = sum_added phi (phi^T v) - sum_removed phi (phi^T v), likewise B, n, sum ||t||^2.

    v has uniform 64-bit entries, arithmetic wraps modulo 2^64, `draws(plan)` of them; O(d^2 + m d). `entropy(n)`
    returns n unpredictable bytes and is called here, after both statistics exist, so nobody can have built an error
    around v. With features per output phi is each row of Phi in turn, and t its target.
    `before` may be `Statistics.zero`: then `after` is proved to be the sum of `added`, an anchor. `removed` and `added`
    come in parts of any size, each looked at once, so that a million rows need not be in memory together.
    Raises ShapeMismatch; OutOfRange: rows that `plan` cannot have produced.
    """
    width, columns = before.cross.shape
    if after.cross.shape != before.cross.shape:
        raise ShapeMismatch("statistics after", after.cross.shape, before.cross.shape)
    count = draws(plan)
    v = draw(entropy, width, count)
    u = draw(entropy, columns, count)
    plus = products(added, plan, v, u)
    minus = products(removed, plan, v, u)
    return TransitionReport(
        gram=np.array_equal((after.gram - before.gram) @ v, plus.gram - minus.gram),
        cross=np.array_equal((after.cross - before.cross) @ u, plus.cross - minus.cross),
        count=after.count - before.count == plus.count - minus.count,
        target_square=after.target_square - before.target_square == plus.square - minus.square,
        in_range=within_range(before, plan) and within_range(after, plan),
    )


def draws(plan: QuantizationPlan) -> int:
    """Return how many vectors miss a wrong entry with probability at most 2^-44.

    Two sums that `in_range` admits differ by less than 2^b, with b from the widths and the capacity. A difference that
    is not zero is hence divisible by at most 2^(b-1), and a uniform v hides it modulo 2^64 with probability at most
    2^-(65-b). Plans keep every sum within 62 bits, so b is at most 63.
    """
    widest = (plan.phi_bits - 1) + max(plan.phi_bits, plan.target_bits) - 1
    bits = widest + math.ceil(math.log2(plan.capacity * plan.equations_per_record)) + 1
    return max(FEWEST_DRAWS, math.ceil(MISS_BITS / (65 - bits)))


def draw(entropy: Callable[[int], bytes], length: int, count: int) -> Vectors:
    """Return (length, count) uniform 64-bit integers."""
    return np.frombuffer(entropy(8 * length * count), dtype="<i8").astype(np.int64).reshape(length, count)


@dataclass(slots=True, eq=False)
class Products:
    """gram (d, draws) = sum phi (phi^T v) and cross (d, draws) = sum phi (t^T u), wrapping; square = sum ||t||^2."""

    gram: Vectors
    cross: Vectors
    square: int = 0
    count: int = 0


def products(parts: Iterable[QuantizedRows], plan: QuantizationPlan, v: Vectors, u: Vectors) -> Products:
    """Sum over all parts, in blocks that bound the memory. Raises ShapeMismatch; OutOfRange: as `targets`."""
    total = Products(np.zeros_like(v), np.zeros_like(v))
    size = max(1, BLOCK // plan.equations_per_record)
    for rows in parts:
        if (rows.width, plan.columns) != (v.shape[0], u.shape[0]):
            raise ShapeMismatch("rows", (rows.width, plan.columns), (v.shape[0], u.shape[0]))
        for start in range(0, rows.count, size):
            part = rows.take(slice(start, start + size))
            features, residual = equations(part, plan)
            phi = features.astype(np.int64)
            total.gram += phi.T @ (phi @ v)
            total.cross += phi.T @ (residual @ u)
            total.square += int(np.einsum("mc,mc->", residual, residual))
            total.count += part.count
    return total


def within_range(statistics: Statistics, plan: QuantizationPlan) -> bool:
    """Whether no sum exceeds count times the largest product of one record, and count fits the plan."""
    count = statistics.count
    if count > plan.capacity:
        return False
    equations_in = count * plan.equations_per_record
    gram = largest(statistics.gram) <= equations_in * plan.phi_limit**2
    cross = largest(statistics.cross) <= equations_in * plan.phi_limit * plan.target_limit
    return gram and cross and 0 <= statistics.target_square <= count * plan.classes * plan.target_limit**2


def largest(values: npt.NDArray[np.int64]) -> int:
    """Return the largest magnitude as a Python integer, right for -2^63 too."""
    return max(int(values.max()), -int(values.min()))
