"""How raw records become network inputs, the same at ingestion and at prediction."""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from unlearning.errors import CorruptArtifact, NonFinite, OutOfRange, ShapeMismatch
from unlearning.resizing import resize

DTYPES = ("uint8", "float32")
CHANNELS_FIRST, CHANNELS_LAST = "channels_first", "channels_last"
REFUSE, CORE_MEAN = "refuse", "core_mean"
LARGEST_SIDE = 4096
SMALLEST_DEVIATION = 1e-6
"""Channels or columns that vary less than this, relative to their mean, count as constant and are only centred."""


@dataclass(frozen=True, slots=True)
class InputOptions:
    """What somebody says about the form of the records; everything has a default.

    layout: of images, CHANNELS_FIRST or CHANNELS_LAST. size: height and width that images are brought to, None: as they
    are. missing: of tables, REFUSE, or CORE_MEAN: NaN becomes the column's mean over the core. columns: what stands in
    each column. mean, deviation: one per channel or column in the units of the records, None: measured on the core.
    """

    layout: str = CHANNELS_FIRST
    size: tuple[int, int] | None = None
    missing: str = REFUSE
    columns: tuple[str, ...] | None = None
    mean: tuple[float, ...] | None = None
    deviation: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class InputSpec:
    """Form and public standardisation of one record.

    shape: as it is stored, (channels, height, width), (height, width, channels) or (columns,). mean and deviation: one
    per channel or column, in raw units. class_names: label i is class_names[i]. The others: as in InputOptions.
    """

    shape: tuple[int, ...]
    dtype: str
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    class_names: tuple[str, ...]
    layout: str = CHANNELS_FIRST
    size: tuple[int, int] | None = None
    missing: str = REFUSE
    columns: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise OutOfRange("input dtype", self.dtype, " or ".join(DTYPES))
        if len(self.shape) not in (1, 3) or min(self.shape) < 1:
            raise OutOfRange("input shape", self.shape, "(channels, height, width) or (columns,)")
        self._check_form()
        if len(self.mean) != self.channels or len(self.deviation) != self.channels:
            raise ShapeMismatch("mean and deviation", (len(self.mean), len(self.deviation)), self.channels)
        broken = [v for v in (*self.mean, *self.deviation) if not np.isfinite(v)]
        if broken:
            raise NonFinite("mean and deviation", len(broken))
        if min(self.deviation) <= 0:
            raise OutOfRange("deviation", min(self.deviation), "> 0")
        if len(self.class_names) < 2 or len(set(self.class_names)) != len(self.class_names):
            raise OutOfRange("class names", self.class_names, "two or more different names")

    def _check_form(self) -> None:
        images = len(self.shape) == 3
        if self.layout not in ((CHANNELS_FIRST, CHANNELS_LAST) if images else (CHANNELS_FIRST,)):
            raise OutOfRange("layout", self.layout, f"{CHANNELS_FIRST}, or of images {CHANNELS_LAST}")
        if self.missing not in ((REFUSE, CORE_MEAN) if not images and self.dtype == "float32" else (REFUSE,)):
            raise OutOfRange("missing", self.missing, f"{REFUSE}, or of float32 tables {CORE_MEAN}")
        if self.size is not None and not (
            images and len(self.size) == 2 and all(1 <= side <= LARGEST_SIDE for side in self.size)
        ):
            raise OutOfRange("size", self.size, f"(height, width) of images, each 1 to {LARGEST_SIDE}")
        if self.columns is not None and (
            images or len(self.columns) != self.shape[0] or len(set(self.columns)) != len(self.columns)
        ):
            raise OutOfRange("columns", self.columns, "a different name for every column of a table")

    @property
    def channels(self) -> int:
        """How many channels an image or columns a table has."""
        return self.shape[-1] if self.layout == CHANNELS_LAST else self.shape[0]

    @property
    def input_shape(self) -> tuple[int, ...]:
        """What the network sees of one record: (channels, height, width) or (columns,)."""
        if len(self.shape) == 1:
            return self.shape
        sides = self.shape[:2] if self.layout == CHANNELS_LAST else self.shape[1:]
        return (self.channels, *(self.size or sides))

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
            fine = np.isfinite(x) | np.isnan(x) if self.missing == CORE_MEAN else np.isfinite(x)
            broken = int(x.size - np.count_nonzero(fine))
            if broken:
                raise NonFinite("records", broken)

    def prepare(self, x: npt.NDArray[np.generic]) -> Tensor:
        """Return (x - mean) / deviation as float32 (n, *input_shape); what is missing becomes the mean, that is 0.

        A record's bits do not depend on the others. Ingestion and prediction both come through here.
        Raises ShapeMismatch; NonFinite, also for finite values so large that the result is not.
        """
        self.check(x)
        values = x.astype(np.float32)
        if self.layout == CHANNELS_LAST:
            values = channels_first(values)
        sides = (1,) * (len(self.shape) - 1)
        mean = np.asarray(self.mean, dtype=np.float32).reshape(-1, *sides)
        deviation = np.asarray(self.deviation, dtype=np.float32).reshape(-1, *sides)
        absent = np.isnan(values) if self.missing == CORE_MEAN else None
        with np.errstate(over="ignore"):
            prepared = (values - mean) / deviation
        if absent is not None:
            prepared[absent] = 0.0
        if self.dtype == "float32":
            broken = int(prepared.size - np.count_nonzero(np.isfinite(prepared)))
            if broken:
                raise NonFinite("standardised records", broken)
        tensor = torch.from_numpy(prepared)
        return tensor if self.size is None else resize(tensor, self.size)

    def to_json(self) -> str:
        """Return canonical JSON: sorted keys, no spaces, floats as Python writes them (they round-trip).

        Options that have their default are left out, so that a spec without them is what it was before there were any.
        """
        fields = {
            name: value for name, value in asdict(self).items() if name not in DEFAULTS or value != DEFAULTS[name]
        }
        return json.dumps(fields, sort_keys=True, separators=(",", ":"))

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
                **read_options(fields),
            )
        except (ValueError, TypeError, KeyError, OutOfRange, ShapeMismatch, NonFinite) as problem:
            raise CorruptArtifact("input spec", str(problem)) from problem

    def digest(self) -> str:
        """Return the SHA-256 of the canonical JSON, in hex. Everything in it is public."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()


DEFAULTS: dict[str, Any] = {"layout": CHANNELS_FIRST, "size": None, "missing": REFUSE, "columns": None}


def read_options(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a spec from its JSON. Raises TypeError, ValueError: other values."""
    options: dict[str, Any] = {name: str(fields[name]) for name in ("layout", "missing") if name in fields}
    if "size" in fields:
        height, width = fields["size"]
        options["size"] = (int(height), int(width))
    if "columns" in fields:
        options["columns"] = tuple(str(v) for v in fields["columns"])
    return options


def fit_input_spec(
    x: npt.NDArray[np.generic], class_names: tuple[str, ...], options: InputOptions | None = None
) -> InputSpec:
    """Measure mean and deviation of core records x (n, *shape), per channel of an image or per column of a table.

    Those that `options` gives are taken instead. Missing values do not count.
    Raises OutOfRange: fewer than two records, dtype other than uint8 or float32, a column without any value, an option
    that does not fit; NonFinite.
    """
    options = options or InputOptions()
    if x.dtype.name not in DTYPES:
        raise OutOfRange("input dtype", x.dtype.name, " or ".join(DTYPES))
    if x.ndim not in (2, 4) or x.shape[0] < 2:
        raise OutOfRange("shape of the core records", x.shape, "(n >= 2, channels, height, width) or (n >= 2, columns)")
    if (options.mean is None) != (options.deviation is None):
        raise OutOfRange("mean and deviation", (options.mean, options.deviation), "both or neither")
    values = x.astype(np.float64)
    fine = np.isfinite(values) | np.isnan(values) if options.missing == CORE_MEAN else np.isfinite(values)
    broken = int(values.size - np.count_nonzero(fine))
    if broken:
        raise NonFinite("core records", broken)
    mean, deviation = options.mean, options.deviation
    if mean is None or deviation is None:
        mean, deviation = measured(channels_first(values) if options.layout == CHANNELS_LAST else values)
    return InputSpec(
        shape=tuple(int(v) for v in x.shape[1:]),
        dtype=x.dtype.name,
        mean=mean,
        deviation=deviation,
        class_names=tuple(class_names),
        layout=options.layout,
        size=options.size,
        missing=options.missing,
        columns=options.columns,
    )


def channels_first(x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return images (n, height, width, channels) as (n, channels, height, width)."""
    return np.ascontiguousarray(np.moveaxis(x, -1, 1))


def measured(values: npt.NDArray[np.float64]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and deviation of what is there, per channel or column; a constant one has deviation 1.

    Raises OutOfRange: a column without any value.
    """
    axes = (0, *range(2, values.ndim))
    absent = np.isnan(values)
    if absent.any():
        empty = np.flatnonzero(absent.all(axis=axes))
        if empty.size:
            raise OutOfRange("columns without a value in the core", empty.tolist(), "none")
        mean, deviation = np.nanmean(values, axis=axes), np.nanstd(values, axis=axes)
    else:
        mean, deviation = values.mean(axis=axes), values.std(axis=axes)
    constant = deviation <= SMALLEST_DEVIATION * np.maximum(np.abs(mean), SMALLEST_DEVIATION)
    deviation = np.where(constant, 1.0, deviation)
    return tuple(float(v) for v in mean), tuple(float(v) for v in deviation)
