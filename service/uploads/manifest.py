"""manifest.ndjson: what an image archive says about its files, `{"path", "id"?, "subject"?, "label"?}` per line."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

from service.refusals import UploadRefused
from service.uploads.json_lines import label_of, read_lines, text_of
from service.uploads.members import LONGEST_PATH, clean_path
from service.uploads.records import CORE_ADVICE, CORE_NAMES_SUBJECTS, LONGEST_TEXT, Format
from service.uploads.row_errors import RowErrors

NAME = "manifest.ndjson"
LARGEST = 64 * 2**20  # bytes; it is kept in memory
LONGEST_LINE = 16 * 1024
FIELDS = frozenset({"path", "id", "subject", "label"})


@dataclass(frozen=True, slots=True)
class Entry:
    """What is said about one file; None for what is not said. label: the class index."""

    id: str | None
    subject: str | None
    label: int | None


def read_manifest(data: bytes, wanted: Format, errors: RowErrors) -> dict[str, Entry]:
    """Return what is said about each path. Faults carry the number of the manifest's line. Raises UploadRefused."""
    names = {name: index for index, name in enumerate(wanted.class_names)}
    found: dict[str, Entry] = {}
    for number, line in read_lines(
        io.BytesIO(data), longest=LONGEST_LINE, member="manifest", allowed=FIELDS, errors=errors
    ):
        if line is None:
            continue
        path = _path(line)
        if path is None or path in found:
            why = "lines of the manifest have no path, an odd one, or that of an earlier line"
            errors.add("manifest", why, [number], "Give every file one line with its path")
            continue
        label = line.get("label")
        entry = Entry(
            text_of(line, "id", number, errors, longest=LONGEST_TEXT),
            text_of(line, "subject", number, errors, longest=LONGEST_TEXT),
            None if label is None else label_of(label, names, wanted.classes, number, "label", errors),
        )
        if wanted.core and entry.subject is not None:
            errors.add("subject", CORE_NAMES_SUBJECTS, [number], CORE_ADVICE)
        found[path] = entry
    return found


def _path(line: dict[str, Any]) -> str | None:
    path = line.get("path")
    if not isinstance(path, str) or len(path) > LONGEST_PATH:
        return None
    try:
        return clean_path(path)
    except UploadRefused:
        return None
