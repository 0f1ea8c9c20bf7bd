"""Checked records on their way to the store: written once in the cohort's own form, read once. No pickle.

They lie in a file without a name. So what is stored is exactly what was checked, and every format is decoded once.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Sequence
from typing import IO

import numpy as np

from service.refusals import UploadRefused
from service.uploads.npy import read_exactly
from service.uploads.receive import write_all
from service.uploads.records import Chunk, Format, Limits

_HEAD = struct.Struct("<QIII")  # number of the first row, rows, bytes of the subjects, bytes of the ids


def write_chunk(file: IO[bytes], chunk: Chunk, wanted: Format, limits: Limits) -> None:
    """Append some rows. Raises UploadRefused: they are more than may be unpacked; StoreFull, StoreFailed."""
    subjects, ids = _packed(chunk.subjects), _packed(chunk.ids)
    head = _HEAD.pack(chunk.first, len(chunk.y), len(subjects), len(ids))
    x = np.ascontiguousarray(chunk.x, dtype=np.dtype(wanted.dtype).newbyteorder("<"))
    if file.tell() + x.nbytes > limits.unpacked_bytes:
        raise UploadRefused(f"it unpacks to more than {limits.unpacked_bytes} bytes", "Send it in parts")
    write_all(file, b"".join((head, x.tobytes(), chunk.y.astype("<i8").tobytes(), subjects, ids)))


def read_chunks(file: IO[bytes], wanted: Format) -> Iterator[Chunk]:
    """Give back what was written, from the beginning."""
    file.seek(0)
    while head := read_exactly(file, _HEAD.size):
        first, rows, subjects, ids = _HEAD.unpack(head)
        x = np.frombuffer(read_exactly(file, rows * wanted.row_bytes), np.dtype(wanted.dtype).newbyteorder("<"))
        y = np.frombuffer(read_exactly(file, rows * 8), "<i8")
        yield Chunk(
            first,
            x.reshape(rows, *wanted.shape),
            y.astype(np.int64),
            _unpacked(read_exactly(file, subjects)),
            _unpacked(read_exactly(file, ids)),
        )


def _packed(texts: Sequence[str | None] | None) -> bytes:
    return b"" if texts is None else json.dumps(list(texts)).encode()


def _unpacked(data: bytes) -> list[str | None] | None:
    if not data:
        return None
    texts: list[str | None] = json.loads(data)
    return texts
