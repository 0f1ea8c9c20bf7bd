"""Records as a .npz archive: arrays x and y, and if wanted subject and id."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from service.refusals import UploadRefused
from service.uploads.archive import open_archive
from service.uploads.npy import ArrayStream, open_array
from service.uploads.records import CORE_ADVICE, CORE_NAMES_SUBJECTS, LONGEST_TEXT, Chunk, Format, Limits
from service.uploads.row_errors import RowErrors

LARGEST_CODE_POINT = 0x10FFFF
CORRECT = "Correct these rows"


@contextmanager
def open_npz(file: IO[bytes], wanted: Format, limits: Limits, errors: RowErrors) -> Iterator[Iterator[Chunk]]:
    """Give the rows of an archive in order, a few megabytes at a time. What is wrong with rows goes into `errors`.

    Raises UploadRefused at once for what the headers show, and while iterating for an archive that is damaged.
    """
    with open_archive(file, allowed=("x", "y", "subject", "id"), largest=limits.unpacked_bytes) as members:
        arrays = {name: open_array(name, stream) for name, stream in members.items()}
        _check_headers(arrays, wanted, limits)
        yield _chunks(arrays, wanted, errors)


def _check_headers(arrays: Mapping[str, ArrayStream], wanted: Format, limits: Limits) -> None:
    for name in ("x", "y"):
        if name not in arrays:
            raise UploadRefused(f"the array {name} is missing", "Send both x and y", member=name)
    if wanted.core and "subject" in arrays:
        raise UploadRefused(CORE_NAMES_SUBJECTS, CORE_ADVICE, member="subject")
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


def _chunks(arrays: Mapping[str, ArrayStream], wanted: Format, errors: RowErrors) -> Iterator[Chunk]:
    total = arrays["x"].rows
    for first in range(0, total, wanted.rows_at_once):
        rows = min(wanted.rows_at_once, total - first)
        x = arrays["x"].read(rows)
        if x.dtype.kind == "f":
            flat = x.reshape(rows, -1)
            fine = ~np.isinf(flat) if wanted.missing_allowed else np.isfinite(flat)
            what = "infinite" if wanted.missing_allowed else "NaN or infinite"
            errors.add("x", f"x has values that are {what}", _where(~fine.all(axis=1), first), "Leave these rows out")
        labels = arrays["y"].read(rows)
        why = f"y has class indices outside 0 to {wanted.classes - 1}"
        errors.add("y", why, _where((labels < 0) | (labels >= wanted.classes), first), CORRECT)
        texts = {name: _texts(arrays[name], rows, first, errors) for name in ("subject", "id") if name in arrays}
        yield Chunk(first, x, labels.astype(np.int64), texts.get("subject"), texts.get("id"))
    for array in arrays.values():
        array.check_end()


def _texts(array: ArrayStream, rows: int, first: int, errors: RowErrors) -> list[str | None]:
    texts = array.read(rows)
    code_points = np.frombuffer(texts.tobytes(), np.dtype("u4").newbyteorder(array.dtype.byteorder)).reshape(rows, -1)
    broken = np.asarray((code_points > LARGEST_CODE_POINT).any(axis=1))
    if broken.any():
        errors.add(array.name, f"{array.name} has texts that are not Unicode", _where(broken, first), CORRECT)
        return [None if bad else str(texts[row]) for row, bad in enumerate(broken.tolist())]
    return [str(text) for text in texts.tolist()]


def _where(broken: npt.NDArray[Any], first: int) -> list[int]:
    rows: list[int] = (np.flatnonzero(broken) + first).tolist()
    return rows
