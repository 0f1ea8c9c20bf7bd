"""Reading an upload of any format from end to end: into checked records, or into a list of what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import IO

from service.refusals import UploadRefused
from service.uploads.formats import Name
from service.uploads.identifiers import IdentifierCheck
from service.uploads.ndjson import open_ndjson
from service.uploads.npz import open_npz
from service.uploads.records import Chunk, Format, Limits
from service.uploads.row_errors import RowErrors
from service.uploads.spool import write_chunk

Reader = Callable[[IO[bytes], Format, Limits, RowErrors], AbstractContextManager[Iterator[Chunk]]]


@dataclass(frozen=True, slots=True)
class Task:
    """What to read and what it must be. key: 32 random bytes for the check of identifiers."""

    kind: Name
    wanted: Format
    limits: Limits
    subject_type: str
    key: bytes


def reader_of(kind: Name) -> Reader:
    """Return the reader of a format. Those that need large libraries load them only now."""
    if kind == "npz":
        return open_npz
    if kind == "ndjson":
        return open_ndjson
    if kind == "parquet":
        from service.uploads.parquet import open_parquet

        return open_parquet
    from service.uploads.image_folder import open_tar, open_zip

    return open_tar if kind == "tar" else open_zip


def convert(task: Task, body: IO[bytes], spool: IO[bytes]) -> int:
    """Read all of `body`, write the records into the empty `spool`, and return how many they are.

    Raises UploadRefused with everything that is wrong, StoreFull, StoreFailed.
    """
    errors = RowErrors()
    check = IdentifierCheck(task.subject_type, key=task.key)
    count = 0
    with reader_of(task.kind)(body, task.wanted, task.limits, errors) as chunks:
        for chunk in chunks:
            count += len(chunk.y)
            if count > task.limits.records:
                raise UploadRefused(f"it holds more than {task.limits.records} records", "Send them in parts")
            check.see(chunk, errors)
            if not errors:
                write_chunk(spool, chunk, task.wanted, task.limits)
    check.finish(errors)
    errors.raise_if_any()
    if not count:
        raise UploadRefused("it holds no records", "Send at least one")
    return count
