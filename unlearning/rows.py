"""The integers stored for each record."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from unlearning.errors import CorruptArtifact, OutOfRange, ShapeMismatch
from unlearning.quantization import QuantizationPlan


@dataclass(frozen=True, slots=True, eq=False)
class QuantizedRows:
    """m records: phi int16, core_output (m, C) int32 on the target grid, labels (m,) int32.

    phi is (m, d) for a map that all outputs share, (m, C, d) for one with features per output.
    """

    phi: npt.NDArray[np.int16]
    core_output: npt.NDArray[np.int32]
    labels: npt.NDArray[np.int32]

    def __post_init__(self) -> None:
        leading = self.core_output.shape if self.per_output else self.labels.shape
        if (
            self.labels.ndim != 1
            or self.core_output.shape[:-1] != self.labels.shape
            or self.phi.ndim < 2
            or self.phi.shape[:-1] != leading
        ):
            raise ShapeMismatch(
                "rows",
                (self.phi.shape, self.core_output.shape, self.labels.shape),
                ("(m, d) or (m, C, d)", "(m, C)", "(m,)"),
            )
        got = (self.phi.dtype.name, self.core_output.dtype.name, self.labels.dtype.name)
        if got != ("int16", "int32", "int32"):
            raise ShapeMismatch("dtypes of the rows", got, ("int16", "int32", "int32"))

    @classmethod
    def empty(cls, width: int, classes: int, *, per_output: bool = False) -> "QuantizedRows":
        """Return no records."""
        phi = np.zeros((0, classes, width) if per_output else (0, width), np.int16)
        return cls(phi, np.zeros((0, classes), np.int32), np.zeros(0, np.int32))

    @property
    def count(self) -> int:
        """m."""
        return int(self.labels.shape[0])

    @property
    def width(self) -> int:
        """d."""
        return int(self.phi.shape[-1])

    @property
    def per_output(self) -> bool:
        """Whether phi has a row for each output."""
        return self.phi.ndim == 3

    def take(self, index: Sequence[int] | npt.NDArray[np.integer] | slice) -> "QuantizedRows":
        """Return the chosen records, in the order of `index`."""
        chosen = index if isinstance(index, slice) else np.asarray(index, dtype=np.intp)
        return QuantizedRows(self.phi[chosen], self.core_output[chosen], self.labels[chosen])

    def relabelled(self, labels: npt.NDArray[np.int32]) -> "QuantizedRows":
        """Return the same records with other labels: a correction needs no second look at the raw record."""
        return QuantizedRows(self.phi, self.core_output, labels)


def join(parts: Sequence[QuantizedRows]) -> QuantizedRows:
    """Return the records of all parts in order.

    Raises OutOfRange: no part is given, so the width is unknown.
    """
    if not parts:
        raise OutOfRange("parts", 0, ">= 1; use QuantizedRows.empty")
    return QuantizedRows(
        np.concatenate([p.phi for p in parts]),
        np.concatenate([p.core_output for p in parts]),
        np.concatenate([p.labels for p in parts]),
    )


def row_bytes(width: int, classes: int, *, per_output: bool = False) -> int:
    """Return the length of one packed record: d (per output: C d) int16, C int32, one int32."""
    return 2 * width * (classes if per_output else 1) + 4 * classes + 4


def pack(rows: QuantizedRows) -> list[bytes]:
    """Return one little-endian bytes object of `row_bytes` per record: phi, core output, label.

    Features per output are packed output by output.
    """
    per_record = math.prod(rows.phi.shape[1:])
    table = np.concatenate(
        [
            np.ascontiguousarray(rows.phi.astype("<i2", copy=False)).reshape(rows.count, per_record).view(np.uint8),
            np.ascontiguousarray(rows.core_output.astype("<i4", copy=False)).view(np.uint8),
            np.ascontiguousarray(rows.labels.astype("<i4", copy=False)).reshape(-1, 1).view(np.uint8),
        ],
        axis=1,
    )
    length = table.shape[1]
    whole = table.tobytes()
    return [whole[start : start + length] for start in range(0, len(whole), length)]


def unpack(packed: Sequence[bytes], width: int, classes: int, *, per_output: bool = False) -> QuantizedRows:
    """Read `pack` back.

    Raises CorruptArtifact: a record has another length.
    """
    length = row_bytes(width, classes, per_output=per_output)
    for record in packed:
        if len(record) != length:
            raise CorruptArtifact("packed record", f"{len(record)} bytes instead of {length}")
    table = np.frombuffer(b"".join(packed), dtype=np.uint8).reshape(len(packed), length)
    split = length - row_bytes(0, classes)
    phi = np.ascontiguousarray(table[:, :split]).view("<i2").astype(np.int16, copy=False)
    return QuantizedRows(
        phi.reshape(len(packed), classes, width) if per_output else phi,
        np.ascontiguousarray(table[:, split : split + 4 * classes]).view("<i4").astype(np.int32, copy=False),
        np.ascontiguousarray(table[:, split + 4 * classes :]).view("<i4").astype(np.int32, copy=False).reshape(-1),
    )


def check_rows(rows: QuantizedRows, plan: QuantizationPlan) -> None:
    """Check that stored integers are such as `plan` produces; larger ones could overflow the exact sums.

    Raises ShapeMismatch: other number of classes, or the other kind of features; OutOfRange: label, feature or core
    output outside the plan.
    """
    if rows.core_output.shape[1] != plan.classes:
        raise ShapeMismatch("classes of the rows", rows.core_output.shape[1], plan.classes)
    if rows.per_output != plan.per_output:
        raise ShapeMismatch("features per output", rows.per_output, plan.per_output)
    if not rows.count:
        return
    low, high = int(rows.labels.min()), int(rows.labels.max())
    if low < 0 or high >= plan.classes:
        raise OutOfRange("label", low if low < 0 else high, f"0 to {plan.classes - 1}")
    for name, values, limit in (
        ("stored feature", rows.phi, plan.phi_limit),
        ("stored core output", rows.core_output, plan.core_limit),
    ):
        # Not np.abs: it maps the most negative integer to itself.
        worst = max(int(values.max(initial=0)), -int(values.min(initial=0)))
        if worst > limit:
            raise OutOfRange(name, worst, f"magnitude <= {limit}")


def targets(rows: QuantizedRows, plan: QuantizationPlan) -> npt.NDArray[np.int64]:
    """Return the residual targets (m, C) on the target grid: alpha_int * onehot(label) - core_output.

    Raises ShapeMismatch, OutOfRange: as `check_rows`.
    """
    check_rows(rows, plan)
    residual = -rows.core_output.astype(np.int64)
    residual[np.arange(rows.count), rows.labels] += plan.alpha_int
    return residual


def equations(rows: QuantizedRows, plan: QuantizationPlan) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.int64]]:
    """Return the least-squares problem of these records, features times weights (d, q) = targets.

    A shared map makes one equation per record: features (m, d), targets (m, C). Features per output make C of them,
    each with one target: features (m C, d), targets (m C, 1).
    Raises ShapeMismatch, OutOfRange: as `check_rows`.
    """
    wanted = targets(rows, plan)
    if not plan.per_output:
        return rows.phi, wanted
    return rows.phi.reshape(-1, rows.width), wanted.reshape(-1, 1)
