"""Sufficient statistics of ridge regression as exact integer sums.

A = sum phi phi^T, B = sum phi t^T, n and sum ||t||^2, all over stored integers; with features per output
A = sum Phi^T Phi and B = sum Phi^T t, where Phi is (C, d) and t is (C,). Because every sum is exact, the order, the
blocking and the split over workers do not matter, and subtracting a record gives byte for byte what never having seen
it would have given.
"""

import hashlib
import hmac
import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from unlearning.errors import CapacityExceeded, CorruptArtifact, NeverAdded, OutOfRange, ShapeMismatch
from unlearning.quantization import TOTAL_BITS, QuantizationPlan
from unlearning.rows import QuantizedRows, equations

CPU = torch.device("cpu")
MAGIC = b"LACSTAT1"
HEADER = struct.Struct("<8s4q")
LARGEST_BLOCK = 8192
"""Equations per matrix product where exactness allows more: 128 MiB of float64 at d = 2,048."""
PANEL = 512
"""Columns per panel: only panels on or above the diagonal are multiplied, which saves nearly half the work."""


@dataclass(frozen=True, slots=True, eq=False)
class Statistics:
    """gram (d, d) int64 symmetric, cross (d, q) int64, count n, target_square; on the plan's integer grid.

    q is C for a map that all outputs share and 1 with features per output. n counts records, not equations.

    The arrays are never written to after construction; every operation returns new ones.
    """

    gram: npt.NDArray[np.int64]
    cross: npt.NDArray[np.int64]
    count: int
    target_square: int

    def __post_init__(self) -> None:
        d = self.gram.shape[0] if self.gram.ndim else -1
        if self.gram.shape != (d, d) or self.cross.ndim != 2 or self.cross.shape[0] != d:
            raise ShapeMismatch("gram, cross", (self.gram.shape, self.cross.shape), ("(d, d)", "(d, q)"))
        got = (self.gram.dtype.name, self.cross.dtype.name)
        if got != ("int64", "int64"):
            raise ShapeMismatch("dtypes of gram, cross", got, ("int64", "int64"))
        if self.count < 0:
            raise OutOfRange("count", self.count, ">= 0")

    @classmethod
    def zero(cls, width: int, columns: int) -> "Statistics":
        """Return the statistics of no records; `QuantizationPlan.columns` says how many columns weights have.

        Raises OutOfRange: a size below one.
        """
        if width < 1 or columns < 1:
            raise OutOfRange("width, columns", (width, columns), ">= 1, >= 1")
        return cls(np.zeros((width, width), np.int64), np.zeros((width, columns), np.int64), 0, 0)

    @property
    def width(self) -> int:
        """d, the bias column included."""
        return int(self.gram.shape[0])

    @property
    def columns(self) -> int:
        """q."""
        return int(self.cross.shape[1])

    def plus(self, rows: QuantizedRows, plan: QuantizationPlan, device: torch.device = CPU) -> "Statistics":
        """Return the statistics with `rows` added. `device` multiplies; see `device_check`.

        Raises CapacityExceeded; ShapeMismatch, OutOfRange: rows that `plan` cannot have produced.
        """
        count = self.count + rows.count
        if count > plan.capacity:
            raise CapacityExceeded(count, plan.capacity)
        return self._moved(rows, plan, device, 1)

    def minus(self, rows: QuantizedRows, plan: QuantizationPlan, device: torch.device = CPU) -> "Statistics":
        """Return the statistics with `rows` subtracted.

        Raises NeverAdded: more rows than there are, or a remainder that no set of rows has; this catches gross
        mistakes only, `check_transition` is the proof. ShapeMismatch, OutOfRange: as `plus`.
        """
        if rows.count > self.count:
            raise NeverAdded(f"{rows.count} rows subtracted from {self.count}")
        remainder = self._moved(rows, plan, device, -1)
        if remainder.target_square < 0 or int(np.diagonal(remainder.gram).min()) < 0:
            raise NeverAdded("a sum of squares became negative")
        if remainder.count == 0 and (remainder.target_square or remainder.gram.any() or remainder.cross.any()):
            raise NeverAdded("no record is left, but the sums are not zero")
        return remainder

    def merge(self, other: "Statistics") -> "Statistics":
        """Return the sum of two partial statistics over disjoint records of one model.

        Raises ShapeMismatch; OutOfRange: a sum could pass 62 bits (no entry of a Gram matrix exceeds its diagonal,
        and cross^2 <= diagonal * target_square by Cauchy and Schwarz).
        """
        if self.cross.shape != other.cross.shape:
            raise ShapeMismatch("merged statistics", other.cross.shape, self.cross.shape)
        diagonal = sum(int(np.diagonal(s.gram).max()) for s in (self, other))
        square = self.target_square + other.target_square
        if max(diagonal, square) > 2**TOTAL_BITS:
            raise OutOfRange("merged sums", max(diagonal, square), f"<= 2^{TOTAL_BITS}")
        return Statistics(self.gram + other.gram, self.cross + other.cross, self.count + other.count, square)

    def to_bytes(self) -> bytes:
        """Return canonical little-endian int64: header, upper triangle of gram row by row, cross."""
        d = self.width
        body = np.empty(d * (d + 1) // 2 + d * self.columns, dtype="<i8")
        position = 0
        for row in range(d):
            body[position : position + d - row] = self.gram[row, row:]
            position += d - row
        body[position:] = self.cross.reshape(-1)
        header = HEADER.pack(MAGIC, d, self.columns, self.count, self.target_square)
        return b"".join((header, body.data))

    @classmethod
    def from_bytes(cls, data: bytes) -> "Statistics":
        """Read `to_bytes` back. Changed sums cannot be seen here; compare `digest`.

        Raises CorruptArtifact: wrong mark, length or sign.
        """
        if len(data) < HEADER.size:
            raise CorruptArtifact("statistics", f"{len(data)} bytes, shorter than the header")
        mark, d, columns, count, square = HEADER.unpack_from(data)
        if mark != MAGIC or d < 1 or columns < 1 or count < 0 or square < 0:
            raise CorruptArtifact("statistics", "the header is wrong")
        triangle = d * (d + 1) // 2
        if len(data) != HEADER.size + 8 * (triangle + d * columns):
            raise CorruptArtifact("statistics", f"{len(data)} bytes do not fit d={d}, q={columns}")
        body = np.frombuffer(data, dtype="<i8", offset=HEADER.size)
        gram = np.empty((d, d), np.int64)
        position = 0
        for row in range(d):
            gram[row, row:] = body[position : position + d - row]
            position += d - row
        mirror_upper(gram)
        cross = body[triangle:].reshape(d, columns).astype(np.int64)
        return cls(gram, cross, count, square)

    def digest(self, key: bytes) -> str:
        """Return HMAC-SHA256(key, to_bytes()) in hex. A plain hash would confirm guesses of a forgotten record."""
        return hmac.new(key, self.to_bytes(), hashlib.sha256).hexdigest()

    def _moved(self, rows: QuantizedRows, plan: QuantizationPlan, device: torch.device, sign: int) -> "Statistics":
        if (rows.width, plan.columns) != self.cross.shape:
            raise ShapeMismatch("width and columns of the rows", (rows.width, plan.columns), self.cross.shape)
        features, residual = equations(rows, plan)
        gram, cross = self.gram.copy(), self.cross.copy()
        step = np.add if sign > 0 else np.subtract
        size = min(plan.block_equations, LARGEST_BLOCK)
        for start in range(0, features.shape[0], size):
            block = slice(start, start + size)
            phi = exact_floats(features[block], device)
            step(cross, to_int64(phi.T @ exact_floats(residual[block], device)), out=cross)
            for first in range(0, self.width, PANEL):
                panel = slice(first, first + PANEL)
                product = to_int64(phi[:, panel].T @ phi[:, first:])
                step(gram[panel, first:], product, out=gram[panel, first:])
        mirror_upper(gram)
        square = int(np.einsum("mc,mc->", residual, residual))
        return Statistics(gram, cross, self.count + sign * rows.count, self.target_square + sign * square)


def exact_floats(values: npt.NDArray[np.signedinteger], device: torch.device) -> Tensor:
    """Return integers below 2^53 as float64 on `device`; exact."""
    return torch.from_numpy(values.astype(np.float64)).to(device)


def to_int64(product: Tensor) -> npt.NDArray[np.int64]:
    """Return a float64 matrix of integers as int64; exact below 2^53."""
    values: npt.NDArray[np.float64] = product.cpu().numpy()
    return values.astype(np.int64)


def mirror_upper(matrix: npt.NDArray[np.int64]) -> None:
    """Copy the upper triangle onto the lower one in place, by panels so that the cache is used."""
    d = matrix.shape[0]
    for first in range(0, d, PANEL):
        last = first + PANEL
        corner = matrix[first:last, first:last]
        upper = np.triu(corner)
        corner[...] = upper + np.triu(upper, 1).T
        matrix[last:, first:last] = matrix[first:last, last:].T
