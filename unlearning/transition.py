"""Proof that new statistics are the old ones minus the removed and plus the added records, and nothing else.

A residual computed from the statistics themselves proves the solve only; a record left in does not show there.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from unlearning.errors import ShapeMismatch
from unlearning.quantization import QuantizationPlan
from unlearning.rows import QuantizedRows, targets
from unlearning.statistics import Statistics

DRAWS = 4
BLOCK = 4096
"""Rows multiplied at once: bounds the memory when an anchor with millions of rows is checked."""

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

    v has uniform 64-bit entries, arithmetic wraps modulo 2^64, four draws; O(d^2 + m d). `entropy(n)` returns n
    unpredictable bytes and is called here, after both statistics exist, so nobody can have built an error around v.
    A wrong entry differs by less than 2^53 (`in_range` sees to it at the default capacity), is hence divisible by at
    most 2^52, and one draw misses it with probability at most 2^-11: four miss with at most 2^-44.
    `before` may be `Statistics.zero`: then `after` is proved to be the sum of `added`, an anchor. `removed` and `added`
    come in parts of any size, each looked at once, so that a million rows need not be in memory together.
    Raises ShapeMismatch; OutOfRange: rows that `plan` cannot have produced.
    """
    shape = (before.width, before.classes)
    if (after.width, after.classes) != shape:
        raise ShapeMismatch("statistics after", (after.width, after.classes), shape)
    width, classes = shape
    v = draw(entropy, width)
    u = draw(entropy, classes)
    plus = products(added, plan, v, u)
    minus = products(removed, plan, v, u)
    return TransitionReport(
        gram=np.array_equal((after.gram - before.gram) @ v, plus.gram - minus.gram),
        cross=np.array_equal((after.cross - before.cross) @ u, plus.cross - minus.cross),
        count=after.count - before.count == plus.count - minus.count,
        target_square=after.target_square - before.target_square == plus.square - minus.square,
        in_range=within_range(before, plan) and within_range(after, plan),
    )


def draw(entropy: Callable[[int], bytes], length: int) -> Vectors:
    """Return (length, DRAWS) uniform 64-bit integers."""
    return np.frombuffer(entropy(8 * length * DRAWS), dtype="<i8").astype(np.int64).reshape(length, DRAWS)


@dataclass(slots=True, eq=False)
class Products:
    """gram (d, DRAWS) = sum phi (phi^T v) and cross (d, DRAWS) = sum phi (t^T u), wrapping; square = sum ||t||^2."""

    gram: Vectors
    cross: Vectors
    square: int = 0
    count: int = 0


def products(parts: Iterable[QuantizedRows], plan: QuantizationPlan, v: Vectors, u: Vectors) -> Products:
    """Sum over all parts, in blocks that bound the memory. Raises ShapeMismatch; OutOfRange: as `targets`."""
    total = Products(np.zeros_like(v), np.zeros((v.shape[0], DRAWS), np.int64))
    for rows in parts:
        got = (rows.phi.shape[1], rows.core_output.shape[1])
        if got != (v.shape[0], u.shape[0]):
            raise ShapeMismatch("rows", got, (v.shape[0], u.shape[0]))
        for start in range(0, rows.count, BLOCK):
            part = rows.take(slice(start, start + BLOCK))
            phi = part.phi.astype(np.int64)
            residual = targets(part, plan)
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
    gram = largest(statistics.gram) <= count * plan.phi_limit**2
    cross = largest(statistics.cross) <= count * plan.phi_limit * plan.target_limit
    return gram and cross and 0 <= statistics.target_square <= count * plan.classes * plan.target_limit**2


def largest(values: npt.NDArray[np.int64]) -> int:
    """Return the largest magnitude as a Python integer, right for -2^63 too."""
    return max(int(values.max()), -int(values.min()))
