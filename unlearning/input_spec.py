"""How raw records become network inputs, the same at ingestion and at prediction."""

import hashlib
import json
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from unlearning.errors import CorruptArtifact, NonFinite, OutOfRange, ShapeMismatch

DTYPES = ("uint8", "float32")
SMALLEST_DEVIATION = 1e-6
"""Channels or columns that vary less than this, relative to their mean, count as constant and are only centred."""


@dataclass(frozen=True, slots=True)
class InputSpec:
    """Shape, dtype and public standardisation of one record.

    shape: (channels, height, width) or (columns,). mean and deviation: one per channel or column, in raw units.
    class_names: label i is class_names[i].
    """

    shape: tuple[int, ...]
    dtype: str
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise OutOfRange("input dtype", self.dtype, " or ".join(DTYPES))
        if len(self.shape) not in (1, 3) or min(self.shape) < 1:
            raise OutOfRange("input shape", self.shape, "(channels, height, width) or (columns,)")
        if len(self.mean) != self.shape[0] or len(self.deviation) != self.shape[0]:
            raise ShapeMismatch("mean and deviation", (len(self.mean), len(self.deviation)), self.shape[0])
        broken = [v for v in (*self.mean, *self.deviation) if not np.isfinite(v)]
        if broken:
            raise NonFinite("mean and deviation", len(broken))
        if min(self.deviation) <= 0:
            raise OutOfRange("deviation", min(self.deviation), "> 0")
        if len(self.class_names) < 2 or len(set(self.class_names)) != len(self.class_names):
            raise OutOfRange("class names", self.class_names, "two or more different names")

    @property
    def classes(self) -> int:
        """C, the number of classes."""
        return len(self.class_names)

    def check(self, x: npt.NDArray[np.generic]) -> None:
        """Check raw records (n, *shape).

        Raises ShapeMismatch: another shape or dtype; NonFinite.
        """
        if x.ndim != len(self.shape) + 1 or x.shape[1:] != self.shape:
            raise ShapeMismatch("records", x.shape, ("n", *self.shape))
        if x.dtype != np.dtype(self.dtype):
            raise ShapeMismatch("dtype of the records", x.dtype.name, self.dtype)
        if self.dtype == "float32":
            broken = int(x.size - np.count_nonzero(np.isfinite(x)))
            if broken:
                raise NonFinite("records", broken)

    def prepare(self, x: npt.NDArray[np.generic]) -> Tensor:
        """Return (x - mean) / deviation as float32 (n, *shape).

        Raises ShapeMismatch; NonFinite, also for finite values so large that the result is not.
        """
        self.check(x)
        sides = (1,) * (len(self.shape) - 1)
        mean = np.asarray(self.mean, dtype=np.float32).reshape(-1, *sides)
        deviation = np.asarray(self.deviation, dtype=np.float32).reshape(-1, *sides)
        with np.errstate(over="ignore"):
            prepared = (x.astype(np.float32) - mean) / deviation
        if self.dtype == "float32":
            broken = int(prepared.size - np.count_nonzero(np.isfinite(prepared)))
            if broken:
                raise NonFinite("standardised records", broken)
        return torch.from_numpy(prepared)

    def to_json(self) -> str:
        """Return canonical JSON: sorted keys, no spaces, floats as Python writes them (they round-trip)."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "InputSpec":
        """Read `to_json` back.

        Raises CorruptArtifact: not JSON, or not these fields.
        """
        try:
            fields = json.loads(text)
            return cls(
                shape=tuple(int(v) for v in fields["shape"]),
                dtype=str(fields["dtype"]),
                mean=tuple(float(v) for v in fields["mean"]),
                deviation=tuple(float(v) for v in fields["deviation"]),
                class_names=tuple(str(v) for v in fields["class_names"]),
            )
        except (ValueError, TypeError, KeyError, OutOfRange, ShapeMismatch, NonFinite) as problem:
            raise CorruptArtifact("input spec", str(problem)) from problem

    def digest(self) -> str:
        """Return the SHA-256 of the canonical JSON, in hex. Everything in it is public."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()


def fit_input_spec(x: npt.NDArray[np.generic], class_names: tuple[str, ...]) -> InputSpec:
    """Measure mean and deviation of core records x (n, *shape), per channel of an image or per column of a table.

    Raises OutOfRange: fewer than two records, dtype other than uint8 or float32; NonFinite.
    """
    if x.dtype.name not in DTYPES:
        raise OutOfRange("input dtype", x.dtype.name, " or ".join(DTYPES))
    if x.ndim not in (2, 4) or x.shape[0] < 2:
        raise OutOfRange("shape of the core records", x.shape, "(n >= 2, channels, height, width) or (n >= 2, columns)")
    values = x.astype(np.float64)
    broken = int(values.size - np.count_nonzero(np.isfinite(values)))
    if broken:
        raise NonFinite("core records", broken)
    axes = (0, *range(2, x.ndim))
    mean = values.mean(axis=axes)
    deviation = values.std(axis=axes)
    constant = deviation <= SMALLEST_DEVIATION * np.maximum(np.abs(mean), SMALLEST_DEVIATION)
    deviation = np.where(constant, 1.0, deviation)
    return InputSpec(
        shape=tuple(int(v) for v in x.shape[1:]),
        dtype=x.dtype.name,
        mean=tuple(float(v) for v in mean),
        deviation=tuple(float(v) for v in deviation),
        class_names=tuple(class_names),
    )
