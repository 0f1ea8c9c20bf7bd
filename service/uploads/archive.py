"""Opening an .npz (a ZIP archive) from a stranger: nothing that it says about itself is believed.

Everything is bounded before it is read: how long the directory is, how many members there are, how large each says it
is. A member then gives at most as many bytes as it declared, and its checksum must be right.
"""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import IO

from service.refusals import UploadRefused

ADVICE = "Make the archive with numpy.savez or numpy.savez_compressed and send it again"
LARGEST_DIRECTORY = 4096  # bytes; four members need about 300
_END = struct.Struct("<4s4H2LH")
_END_MAGIC, _ZIP64_MAGIC = b"PK\x05\x06", b"PK\x06\x07"
_ZIP64_LOCATOR = 20
_LOCAL_HEADER = 30
_ENCRYPTED = 0x1
BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, struct.error, ValueError, NotImplementedError, RuntimeError)


@contextmanager
def open_archive(file: IO[bytes], *, allowed: Collection[str], largest: int) -> Iterator[dict[str, IO[bytes]]]:
    """Give each member's unpacked stream by its name without `.npy`.

    `allowed`: the names there may be. `largest`: how many bytes all members together may unpack to.
    Raises UploadRefused, also when a member turns out to be damaged while it is read inside the `with`.
    """
    _check_directory(file)
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            _check_members(members, {f"{name}.npy" for name in allowed}, largest, archive.start_dir)
            yield {info.filename.removesuffix(".npy"): archive.open(info) for info in members}
    except BROKEN as problem:
        raise UploadRefused("the archive is damaged or cut short", ADVICE) from problem


def _check_directory(file: IO[bytes]) -> None:
    """Look at the end of the archive, so that `zipfile` reads no directory of hostile size."""
    size = file.seek(0, os.SEEK_END)
    if size < _END.size:
        raise UploadRefused("the body is empty" if size == 0 else "the body is no .npz archive", ADVICE)
    tail_size = min(size, _END.size + _ZIP64_LOCATOR)
    file.seek(size - tail_size)
    tail = file.read(tail_size)
    magic, _, _, _, _, length, start, comment = _END.unpack(tail[-_END.size :])
    if magic != _END_MAGIC or comment:
        raise UploadRefused("the body is no .npz archive, or was cut short", ADVICE)
    if tail[:4] == _ZIP64_MAGIC and tail_size > _END.size:
        raise UploadRefused("the archive is larger than 4 GiB", "Send it in parts")
    if length > LARGEST_DIRECTORY:
        raise UploadRefused("the archive has too many members", ADVICE)
    if start + length != size - _END.size:
        raise UploadRefused("the archive is damaged: its directory is not where it says", ADVICE)


def _check_members(members: list[zipfile.ZipInfo], allowed: Collection[str], largest: int, end: int) -> None:
    names = [info.filename for info in members]
    if len(set(names)) != len(names):
        raise UploadRefused("the archive has two members of one name", ADVICE)
    if not set(names) <= set(allowed):
        wanted = ", ".join(sorted(name.removesuffix(".npy") for name in allowed))
        raise UploadRefused(f"the archive has members other than {wanted}", "Leave the others out")
    for info in members:
        if info.flag_bits & _ENCRYPTED or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise UploadRefused("the archive is encrypted or packed in a way that is not read here", ADVICE)
    if sum(info.file_size for info in members) > largest:
        raise UploadRefused(f"the archive unpacks to more than {largest} bytes", "Send it in parts")
    _check_places(sorted(members, key=lambda info: info.header_offset), end)


def _check_places(members: list[zipfile.ZipInfo], end: int) -> None:
    """Members may not share bytes: that is how a small archive unpacks to a huge one."""
    following_offsets = [info.header_offset for info in members[1:]] + [end] * bool(members)
    for info, following in zip(members, following_offsets, strict=True):
        if info.header_offset + _LOCAL_HEADER + len(info.orig_filename) + info.compress_size > following:
            raise UploadRefused("the archive is damaged: its members overlap", ADVICE)
