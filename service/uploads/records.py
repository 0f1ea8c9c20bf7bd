"""What an upload of records must look like, and reading it in bounded pieces."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from service.refusals import UploadRefused
from service.uploads.archive import open_archive
from service.uploads.npy import ArrayStream, open_array

CHUNK_ROWS = 8192
CHUNK_BYTES = 8 * 2**20
LONGEST_TEXT = 1024  # characters
LARGEST_CODE_POINT = 0x10FFFF
CORE_ADVICE = "Core records are public and belong to nobody. Leave `subject` out, or use a user cohort"


@dataclass(frozen=True, slots=True)
class Format:
    """What a cohort's records look like. missing_allowed: NaN says that a value is missing."""

    shape: tuple[int, ...]
    dtype: str
    classes: int
    core: bool
    missing_allowed: bool = False


@dataclass(frozen=True, slots=True)
class Limits:
    """Most records, and most bytes that an archive may unpack to."""

    records: int
    unpacked_bytes: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some rows: the number of the first, x (n, *shape), y (n,), and subjects and ids where they were sent."""

    first: int
    x: npt.NDArray[Any]
    y: npt.NDArray[np.int64]
    subjects: list[str] | None
    ids: list[str] | None


@contextmanager
def open_records(file: IO[bytes], wanted: Format, limits: Limits) -> Iterator[Iterator[Chunk]]:
    """Give the rows of an archive in order, a few megabytes at a time, each chunk checked.

    Raises UploadRefused at once for what the headers show, and while iterating for what only the rows show.
    """
    with open_archive(file, allowed=("x", "y", "subject", "id"), largest=limits.unpacked_bytes) as members:
        arrays = {name: open_array(name, stream) for name, stream in members.items()}
        _check_headers(arrays, wanted, limits)
        yield _chunks(arrays, wanted)


def _check_headers(arrays: Mapping[str, ArrayStream], wanted: Format, limits: Limits) -> None:
    for name in ("x", "y"):
        if name not in arrays:
            raise UploadRefused(f"the array {name} is missing", "Send both x and y", member=name)
    if wanted.core and "subject" in arrays:
        raise UploadRefused("this is a core cohort and the archive names subjects", CORE_ADVICE, member="subject")
    x, y = arrays["x"], arrays["y"]
    if x.shape[1:] != wanted.shape:
        why = f"x has rows of shape {list(x.shape[1:])}, the cohort has {list(wanted.shape)}"
        raise UploadRefused(why, "Reshape x to (n, ...) with the cohort's shape", member="x")
    if x.dtype != np.dtype(wanted.dtype):
        why = f"x is of type {x.dtype.str}, the cohort of {np.dtype(wanted.dtype).str} ({wanted.dtype})"
        raise UploadRefused(why, f"Convert x with x.astype('{wanted.dtype}')", member="x")
    if y.dtype.kind not in "iu" or len(y.shape) != 1:
        raise UploadRefused("y is not one whole number per row", "Send class indices of an integer type", member="y")
    for name in ("subject", "id"):
        _check_text(arrays.get(name))
    if len({array.rows for array in arrays.values()}) != 1:
        counts = ", ".join(f"{name} {array.rows}" for name, array in sorted(arrays.items()))
        raise UploadRefused(f"the arrays have different numbers of rows ({counts})", "Send one row of each per record")
    if x.rows == 0:
        raise UploadRefused("it holds no records", "Send at least one")
    if x.rows > limits.records:
        raise UploadRefused(f"it holds {x.rows} records, more than {limits.records}", "Send them in parts")


def _check_text(array: ArrayStream | None) -> None:
    if array is None:
        return
    if array.dtype.kind != "U" or len(array.shape) != 1:
        why = f"{array.name} is not one text per row"
        raise UploadRefused(why, f"Send numpy.asarray({array.name}, dtype=str)", member=array.name)
    if not 0 < array.row_bytes <= 4 * LONGEST_TEXT:
        why = f"{array.name} has room for {array.row_bytes // 4} characters per row, allowed are 1 to {LONGEST_TEXT}"
        raise UploadRefused(why, "Send shorter texts", member=array.name)


def _chunks(arrays: Mapping[str, ArrayStream], wanted: Format) -> Iterator[Chunk]:
    total = arrays["x"].rows
    at_once = max(1, min(CHUNK_ROWS, CHUNK_BYTES // max(1, arrays["x"].row_bytes)))
    for first in range(0, total, at_once):
        rows = min(at_once, total - first)
        x = arrays["x"].read(rows)
        if x.dtype.kind == "f":
            flat = x.reshape(rows, -1)
            fine = ~np.isinf(flat) if wanted.missing_allowed else np.isfinite(flat)
            broken = ~fine.all(axis=1)
            if broken.any():
                what = "infinite" if wanted.missing_allowed else "NaN or infinite"
                raise _at("x", f"x has values that are {what}", broken, first, "Leave these rows out")
        labels = arrays["y"].read(rows)
        outside = (labels < 0) | (labels >= wanted.classes)
        if outside.any():
            why = f"y has class indices outside 0 to {wanted.classes - 1}"
            raise _at("y", why, outside, first, "Correct these rows")
        texts = {name: _texts(arrays[name], rows, first) for name in ("subject", "id") if name in arrays}
        yield Chunk(first, x, labels.astype(np.int64), texts.get("subject"), texts.get("id"))
    for array in arrays.values():
        array.check_end()


def _texts(array: ArrayStream, rows: int, first: int) -> list[str]:
    texts = array.read(rows)
    code_points = np.frombuffer(texts.tobytes(), np.dtype("u4").newbyteorder(array.dtype.byteorder)).reshape(rows, -1)
    broken = np.asarray((code_points > LARGEST_CODE_POINT).any(axis=1))
    if broken.any():
        raise _at(array.name, f"{array.name} has texts that are not Unicode", broken, first, "Correct these rows")
    return [str(text) for text in texts.tolist()]


def _at(name: str, why: str, broken: npt.NDArray[Any], first: int, advice: str) -> UploadRefused:
    rows = (np.flatnonzero(broken) + first).tolist()
    return UploadRefused(why, advice, member=name, rows=rows)
