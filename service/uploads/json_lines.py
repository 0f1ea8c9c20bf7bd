"""One JSON object per line, read with bounded memory and without believing anything."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import IO, Any

from pydantic_core import from_json

from service.refusals import UploadRefused
from service.uploads.row_errors import RowErrors

BUFFER = 2**20


def read_lines(
    file: IO[bytes], *, longest: int, member: str, allowed: frozenset[str], errors: RowErrors
) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """Give each line's number from 0 and its object; None for a line that is wrong, which goes into `errors`.

    `longest`: bytes of a line. `allowed`: the fields there may be. `member`: what faults are reported against.
    NaN and Infinity are no JSON. Raises UploadRefused: a line is longer, so that the rest cannot be found.
    """
    reader = io.BufferedReader(_Unclosed(file), BUFFER)
    number = 0
    while line := reader.readline(longest + 1):
        if len(line) > longest:
            raise UploadRefused(
                f"line {number} is longer than {longest} bytes, more than such a record can need",
                "Send one JSON object per line",
            )
        yield number, _parsed(line, number, member, allowed, errors)
        number += 1


def _parsed(line: bytes, number: int, member: str, allowed: frozenset[str], errors: RowErrors) -> dict[str, Any] | None:
    try:
        found = from_json(line, allow_inf_nan=False)
    except ValueError:
        errors.add(member, "lines are not valid JSON", [number], "Send one JSON object per line, in UTF-8")
        return None
    if not isinstance(found, dict):
        errors.add(member, "lines are not JSON objects", [number], "Send one JSON object per line")
        return None
    if not found.keys() <= allowed:
        wanted = ", ".join(sorted(allowed))
        errors.add(member, f"lines have fields other than {wanted}", [number], "Leave the others out")
        return None
    return found


class _Unclosed(io.RawIOBase):
    """Reads from a file that somebody else closes."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def text_of(found: dict[str, Any], name: str, number: int, errors: RowErrors, *, longest: int) -> str | None:
    """Return an optional text of an object; one that is no text or too long goes into `errors`."""
    text = found.get(name)
    if text is None:
        return None
    if not isinstance(text, str) or len(text) > longest:
        errors.add(name, f"{name} is no text of at most {longest} characters", [number], "Correct these rows")
        return None
    return text


def label_of(value: Any, names: dict[str, int], classes: int, number: int, member: str, errors: RowErrors) -> int:
    """Return the class index that a number or a class name says; 0 and a fault when it says none."""
    index = names.get(value) if isinstance(value, str) else value if type(value) is int else None
    if index is None or not 0 <= index < classes:
        why = f"{member} is neither a class index of 0 to {classes - 1} nor a class name"
        errors.add(member, why, [number], "Correct these rows")
        return 0
    return index
