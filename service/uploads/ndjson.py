"""Records as NDJSON: `{"x": nested list, "y": class index or name, "id"?: text, "subject"?: text}` on every line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, islice
from typing import IO, Any

import numpy as np

from service.uploads.json_lines import label_of, read_lines, text_of
from service.uploads.numbers import to_cohort
from service.uploads.records import CORE_ADVICE, CORE_NAMES_SUBJECTS, LONGEST_TEXT, Chunk, Format, Limits
from service.uploads.row_errors import RowErrors

FIELDS = frozenset({"x", "y", "id", "subject"})
VALUE_BYTES = 32
"""Most bytes of a number with its comma and brackets; Python writes at most 26."""
REST_BYTES = 64 * 1024
SHAPE = "x is not nested lists of numbers in the cohort's shape"


@contextmanager
def open_ndjson(file: IO[bytes], wanted: Format, _limits: Limits, errors: RowErrors) -> Iterator[Iterator[Chunk]]:
    """Give the lines' records in order. What is wrong with them goes into `errors`. Raises UploadRefused."""
    file.seek(0)
    longest = REST_BYTES + VALUE_BYTES * wanted.values
    yield _chunks(read_lines(file, longest=longest, member="line", allowed=FIELDS, errors=errors), wanted, errors)


def _chunks(lines: Iterator[tuple[int, dict[str, Any] | None]], wanted: Format, errors: RowErrors) -> Iterator[Chunk]:
    names = {name: index for index, name in enumerate(wanted.class_names)}
    while True:
        values = np.zeros((wanted.rows_at_once, wanted.values))
        labels = np.zeros(wanted.rows_at_once, dtype=np.int64)
        texts: dict[str, list[str | None]] = {"subject": [], "id": []}
        numbers: list[int] = []
        # Each line is let go of before the next is read: as objects, a hostile one is twenty times as large.
        for place, (number, found) in enumerate(islice(lines, wanted.rows_at_once)):
            numbers.append(number)
            for name, column in texts.items():
                column.append(None if found is None else text_of(found, name, number, errors, longest=LONGEST_TEXT))
            if found is None:
                continue
            flat = _flat(found.get("x"), wanted)
            if flat is None:
                errors.add("x", SHAPE, [number], f"Send {_words(wanted.shape)} numbers per record")
            else:
                values[place] = flat
            labels[place] = label_of(found.get("y"), names, wanted.classes, number, "y", errors)
            if wanted.core and texts["subject"][place] is not None:
                errors.add("subject", CORE_NAMES_SUBJECTS, [number], CORE_ADVICE)
        if not numbers:
            return
        x = to_cohort(values[: len(numbers)], wanted, np.array(numbers), errors)
        yield Chunk(numbers[0], x, labels[: len(numbers)], *(_any(texts[name]) for name in ("subject", "id")))


def _flat(x: Any, wanted: Format) -> Any:
    """Return the numbers of nested lists in C order, or None: another shape, or something that is no number."""
    level = [x]
    for side in wanted.shape:
        if set(map(type, level)) != {list} or set(map(len, level)) != {side}:
            return None
        level = list(chain.from_iterable(level))
    kinds = set(map(type, level))
    if not kinds <= ({int, float, type(None)} if wanted.missing_allowed else {int, float}):
        return None
    try:
        return np.array(level, dtype=np.float64)
    except OverflowError:
        return None  # a whole number beyond every float


def _any(texts: list[str | None]) -> list[str | None] | None:
    return None if all(text is None for text in texts) else texts


def _words(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
