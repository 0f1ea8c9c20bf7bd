"""What a cohort's records look like, how many may come at once, and the pieces in which they are read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

CHUNK_ROWS = 8192
CHUNK_BYTES = 8 * 2**20
LONGEST_TEXT = 1024  # characters
CORE_ADVICE = "Core records are public and belong to nobody. Leave `subject` out, or use a user cohort"
CORE_NAMES_SUBJECTS = "this is a core cohort and the upload names subjects"


@dataclass(frozen=True, slots=True)
class Format:
    """What a cohort's records look like.

    missing_allowed: NaN says that a value is missing. columns: of tables, what stands in which column.
    """

    shape: tuple[int, ...]
    dtype: str
    class_names: tuple[str, ...]
    core: bool
    missing_allowed: bool = False
    channels_last: bool = False
    columns: tuple[str, ...] | None = None

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return len(self.class_names)

    @property
    def values(self) -> int:
        """How many values a record has."""
        return math.prod(self.shape)

    @property
    def row_bytes(self) -> int:
        """Size of one stored record."""
        return self.values * np.dtype(self.dtype).itemsize

    @property
    def rows_at_once(self) -> int:
        """How many records are read at once, so that a piece has a few megabytes."""
        return max(1, min(CHUNK_ROWS, CHUNK_BYTES // self.row_bytes))


@dataclass(frozen=True, slots=True)
class Limits:
    """Most records, and most bytes to which an upload may unpack. of_one: most stored records of one subject."""

    records: int
    unpacked_bytes: int
    of_one: int | None = None


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some rows: the number of the first, x (n, *shape), y (n,), and subjects and ids where they were sent.

    A None among subjects or ids says that this row has none.
    """

    first: int
    x: npt.NDArray[Any]
    y: npt.NDArray[np.int64]
    subjects: Sequence[str | None] | None
    ids: Sequence[str | None] | None
