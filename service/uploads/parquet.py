"""Records as Parquet: a list column x, or one column per feature; y; and if wanted subject and id.

pyarrow is a large C++ reader that believes much of what a file says about itself. So this module runs only in a
process of its own with little memory (see isolated.py), and checks first what can be checked from outside.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from service.refusals import UploadRefused
from service.uploads.numbers import to_cohort
from service.uploads.records import CORE_ADVICE, CORE_NAMES_SUBJECTS, LONGEST_TEXT, Chunk, Format, Limits
from service.uploads.row_errors import RowErrors

ADVICE = "Write it again with pyarrow.parquet.write_table and send it again"
CORRECT = "Correct these rows"
MAGIC = b"PAR1"
LARGEST_FOOTER = 16 * 2**20
RESERVED = ("y", "id", "subject")
BROKEN = (pa.ArrowException, OSError, ValueError, KeyError, TypeError, IndexError, OverflowError)
LIMITS: dict[str, Any] = {
    "buffer_size": 2**20,
    "pre_buffer": False,
    "thrift_string_size_limit": LARGEST_FOOTER,
    "thrift_container_size_limit": 2**20,  # entries of one list within the footer
    "page_checksum_verification": True,
    "arrow_extensions_enabled": False,
}


@contextmanager
def open_parquet(file: IO[bytes], wanted: Format, limits: Limits, errors: RowErrors) -> Iterator[Iterator[Chunk]]:
    """Give the file's rows in order. What is wrong with them goes into `errors`. Raises UploadRefused."""
    _check_ends(file)
    try:
        metadata = pq.ParquetFile(file, **LIMITS).metadata
        _check_size(metadata, limits)
        schema = metadata.schema.to_arrow_schema()
        features = _columns(schema, wanted)
        texts = [name for name in RESERVED if name in schema.names and _is_text(schema.field(name).type)]
        file.seek(0)
        parquet = pq.ParquetFile(file, metadata=metadata, read_dictionary=texts, **LIMITS)
        yield _chunks(parquet, features, wanted, errors)
    except UploadRefused:
        raise
    except MemoryError as problem:
        why = "reading it needs more memory than an upload may take"
        raise UploadRefused(why, "Write smaller pages and row groups, and lists of the right length") from problem
    except BROKEN as problem:
        raise UploadRefused("the Parquet file is damaged or of a kind that is not read here", ADVICE) from problem


def _check_ends(file: IO[bytes]) -> None:
    size = file.seek(0, os.SEEK_END)
    if size < 12:
        raise UploadRefused("the body is empty" if size == 0 else "the body is no Parquet file", ADVICE)
    file.seek(0)
    start = file.read(4)
    file.seek(size - 8)
    tail = file.read(8)
    if start != MAGIC or tail[4:] != MAGIC:
        raise UploadRefused("the body is no Parquet file, or was cut short or encrypted", ADVICE)
    if int.from_bytes(tail[:4], "little") > min(LARGEST_FOOTER, size - 12):
        raise UploadRefused("the Parquet file's footer is larger than the file or than is read here", ADVICE)
    file.seek(0)


def _check_size(metadata: Any, limits: Limits) -> None:
    if metadata.num_rows > limits.records:
        raise UploadRefused(f"it holds {metadata.num_rows} records, more than {limits.records}", "Send them in parts")
    unpacked = sum(metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups))
    if unpacked > limits.unpacked_bytes:
        raise UploadRefused(f"it unpacks to more than {limits.unpacked_bytes} bytes", "Send it in parts")


def _columns(schema: Any, wanted: Format) -> list[str]:
    """Return the columns with the features, in the cohort's order. Raises UploadRefused: others are there."""
    names = schema.names
    if len(set(names)) != len(names):
        raise UploadRefused("two columns have the same name", ADVICE)
    if "y" not in names:
        raise UploadRefused("the column y is missing", "Send y: class indices or class names", member="y")
    if wanted.core and "subject" in names:
        raise UploadRefused(CORE_NAMES_SUBJECTS, CORE_ADVICE, member="subject")
    features = [name for name in names if name not in RESERVED]
    if features == ["x"] and _is_list(schema.field("x").type):
        kind = schema.field("x").type.value_type
        if not _is_number(kind):
            raise UploadRefused("x holds no numbers", "Send lists of integers or floats", member="x")
        return features
    if wanted.columns is None:
        advice = "Send one list column x, or make a cohort with column_names and send one column per name"
        raise UploadRefused("the features are not one list column x, and the cohort does not name its columns", advice)
    if set(features) != set(wanted.columns):
        raise UploadRefused(
            "the columns are not those that the cohort names",
            "Send exactly the cohort's column_names beside y",
            member="x",
        )
    if not all(_is_number(schema.field(name).type) for name in features):
        raise UploadRefused("there are features that are no numbers", "Send integers or floats", member="x")
    return list(wanted.columns)


def _is_list(kind: Any) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _is_text(kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_number(kind: Any) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _chunks(parquet: Any, features: list[str], wanted: Format, errors: RowErrors) -> Iterator[Chunk]:
    names = {name: index for index, name in enumerate(wanted.class_names)}
    texts = [name for name in ("subject", "id") if name in parquet.schema_arrow.names]
    as_list = features == ["x"] and _is_list(parquet.schema_arrow.field("x").type)
    first = 0
    batches = parquet.iter_batches(wanted.rows_at_once, columns=[*features, "y", *texts], use_threads=False)
    for batch in batches:
        rows = np.arange(first, first + batch.num_rows)
        values = (
            _lists(batch.column("x"), wanted, rows, errors)
            if as_list
            else np.column_stack([_numbers(batch.column(name)) for name in features])
        )
        found = {name: _texts(batch.column(name), name, rows, errors) for name in texts}
        labels = _labels(batch.column("y"), names, wanted, rows, errors)
        x = to_cohort(values, wanted, rows, errors)
        yield Chunk(first, x, labels, found.get("subject"), found.get("id"))
        first += batch.num_rows


def _numbers(column: Any) -> npt.NDArray[Any]:
    """Return a column as numbers; a null becomes NaN."""
    values: npt.NDArray[Any] = column.to_numpy(zero_copy_only=False)
    return values.astype(np.float64) if column.null_count else values


def _lists(column: Any, wanted: Format, rows: npt.NDArray[np.int64], errors: RowErrors) -> npt.NDArray[Any]:
    """Return lists of equal length as (n, k). Rows of another length go into `errors`, and everything is zero then."""
    lengths = pc.fill_null(pc.list_value_length(column), -1).to_numpy(zero_copy_only=False)
    wrong = lengths != wanted.values
    if wrong.any():
        why = "x has lists of another length than the cohort's records"
        errors.add("x", why, rows[wrong].tolist(), f"Send {wanted.values} numbers per record, in C order")
        return np.zeros((len(rows), wanted.values))
    return _numbers(column.flatten()).reshape(len(rows), wanted.values)


def _labels(
    column: Any, names: dict[str, int], wanted: Format, rows: npt.NDArray[np.int64], errors: RowErrors
) -> npt.NDArray[np.int64]:
    if pa.types.is_integer(column.type):
        labels = np.where(column.is_null(), -1, pc.fill_null(column, 0).to_numpy(zero_copy_only=False))
    else:
        texts = _texts(column, "y", rows, errors, longest=200)
        labels = np.array([-1 if text is None else names.get(text, -1) for text in texts])
    wrong = (labels < 0) | (labels >= wanted.classes)
    why = f"y is neither a class index of 0 to {wanted.classes - 1} nor a class name"
    errors.add("y", why, rows[wrong].tolist(), CORRECT)
    result: npt.NDArray[np.int64] = labels.astype(np.int64)
    return result


def _texts(
    column: Any, name: str, rows: npt.NDArray[np.int64], errors: RowErrors, *, longest: int = LONGEST_TEXT
) -> list[str | None]:
    """Return a column of texts, each different one made once: a dictionary may repeat a long one very often."""
    packed = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    different = packed.dictionary
    if not _is_text(different.type):
        raise UploadRefused(f"{name} is no column of texts", "Send strings", member=name)
    sizes = pc.fill_null(pc.binary_length(different), 0).to_numpy(zero_copy_only=False)
    known = [None if size > 4 * longest else text.as_py() for text, size in zip(different, sizes, strict=True)]
    places = pc.fill_null(packed.indices, -1).to_numpy(zero_copy_only=False)
    too_long = [row for row, place in zip(rows.tolist(), places, strict=True) if place >= 0 and known[place] is None]
    errors.add(name, f"{name} has texts of more than {longest} characters", too_long, "Send shorter texts")
    return [None if place < 0 else known[place] for place in places]
