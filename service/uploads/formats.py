"""Which formats an upload may have, and what each is called over HTTP."""

from __future__ import annotations

from typing import Literal

from service.refusals import BodyNotOfType

Name = Literal["npz", "ndjson", "parquet", "tar", "zip"]

BY_TYPE: dict[str, Name] = {
    "application/octet-stream": "npz",
    "application/x-ndjson": "ndjson",
    "application/vnd.apache.parquet": "parquet",
    "application/x-tar": "tar",
    "application/zip": "zip",
}
TYPES = {name: content_type for content_type, name in BY_TYPE.items()}
ISOLATED = frozenset({"parquet", "tar", "zip"})
"""Formats that are decoded by large programs of others, and therefore in a process of their own."""


def of_content_type(header: str | None) -> Name:
    """Return the format that a Content-Type names. Raises BodyNotOfType."""
    name = BY_TYPE.get((header or "").partition(";")[0].strip().lower())
    if name is None:
        raise BodyNotOfType(list(BY_TYPE))
    return name
