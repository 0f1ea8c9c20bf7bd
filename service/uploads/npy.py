"""Reading a .npy array row by row, without pickle and without believing its header."""

from __future__ import annotations

import ast
import math
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from service.refusals import UploadRefused

ADVICE = "Save a plain array with numpy.savez(..., x=x, y=y) and send it again"
MAGIC = b"\x93NUMPY"
LARGEST_HEADER = 1024  # bytes; numpy writes 118 for these arrays
_LENGTH_SIZE = {1: 2, 2: 4, 3: 4}  # by major version


@dataclass(frozen=True, slots=True)
class ArrayStream:
    """An array of which the header has been read: its name, type, shape, and the bytes that follow."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    stream: IO[bytes]

    @property
    def rows(self) -> int:
        """How many rows it says it has."""
        return self.shape[0]

    @property
    def row_bytes(self) -> int:
        """Size of one row."""
        return self.dtype.itemsize * math.prod(self.shape[1:])

    def read(self, rows: int) -> npt.NDArray[Any]:
        """Return the next `rows` rows. Raises UploadRefused: there are fewer bytes than the header promised."""
        data = read_exactly(self.stream, rows * self.row_bytes)
        if len(data) < rows * self.row_bytes:
            raise UploadRefused(f"{self.name} ends before its last row", ADVICE, member=self.name)
        return np.frombuffer(data, self.dtype).reshape(rows, *self.shape[1:])

    def check_end(self) -> None:
        """Raises UploadRefused: there are more bytes than the header promised. The checksum is compared here too."""
        if self.stream.read(1):
            raise UploadRefused(f"{self.name} is longer than its header says", ADVICE, member=self.name)


def open_array(name: str, stream: IO[bytes]) -> ArrayStream:
    """Read the header of a .npy stream. Raises UploadRefused: pickled objects, records, other layouts, no header."""
    start = read_exactly(stream, len(MAGIC) + 2)
    if start[: len(MAGIC)] != MAGIC or len(start) < len(MAGIC) + 2 or start[len(MAGIC)] not in _LENGTH_SIZE:
        raise UploadRefused(f"{name} is no .npy array", ADVICE, member=name)
    length = int.from_bytes(read_exactly(stream, _LENGTH_SIZE[start[len(MAGIC)]]), "little")
    if length > LARGEST_HEADER:
        raise UploadRefused(f"{name} has a header of {length} bytes", ADVICE, member=name)
    return _parse(name, read_exactly(stream, length), stream)


def _parse(name: str, header: bytes, stream: IO[bytes]) -> ArrayStream:
    try:
        fields = ast.literal_eval(header.decode("ascii").strip())
        descr, fortran, shape = fields["descr"], fields["fortran_order"], fields["shape"]
    except (ValueError, SyntaxError, KeyError, TypeError, RecursionError, MemoryError) as problem:
        raise UploadRefused(f"{name} has a header that cannot be read", ADVICE, member=name) from problem
    whole = isinstance(shape, tuple) and all(type(side) is int and 0 <= side < 2**40 for side in shape)
    if not isinstance(descr, str) or not isinstance(fortran, bool) or not whole:
        raise UploadRefused(f"{name} is no plain array", ADVICE, member=name)
    try:
        dtype = np.dtype(descr)
    except (TypeError, ValueError, SyntaxError) as problem:
        raise UploadRefused(f"{name} has a type that is not known", ADVICE, member=name) from problem
    if dtype.hasobject or dtype.kind not in "biufU" or dtype.subdtype is not None:
        raise UploadRefused(f"{name} holds objects, not numbers or text", ADVICE, member=name)
    if not shape:
        raise UploadRefused(f"{name} is a single value, not an array", ADVICE, member=name)
    if fortran:
        raise UploadRefused(f"{name} is stored column by column", f"Send numpy.ascontiguousarray({name})", member=name)
    return ArrayStream(name, dtype, shape, stream)


def read_exactly(stream: IO[bytes], size: int) -> bytes:
    """Return `size` bytes, fewer only where the stream ends."""
    parts: list[bytes] = []
    while size > 0 and (part := stream.read(min(size, 2**20))):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
