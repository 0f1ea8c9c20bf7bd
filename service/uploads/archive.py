"""Opening a ZIP archive (also an .npz) from a stranger: nothing that it says about itself is believed.

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
from functools import partial
from typing import IO

from service.refusals import UploadRefused
from service.uploads.members import Member
from service.uploads.npy import read_exactly

NPZ_ADVICE = "Make the archive with numpy.savez or numpy.savez_compressed and send it again"
ZIP_ADVICE = "Make the archive with zip from plain files, or send a tar archive"
NPZ_DIRECTORY = 4096  # bytes; four members need about 300
ZIP_DIRECTORY = 16 * 2**20  # bytes; the directory is kept in memory
_END = struct.Struct("<4s4H2LH")
_END_MAGIC, _ZIP64_MAGIC = b"PK\x05\x06", b"PK\x06\x07"
_ZIP64_LOCATOR = struct.Struct("<4sLQL")
_ZIP64_END = struct.Struct("<4sQ2H2L4Q")
_LOCAL_HEADER = 30
_ENCRYPTED = 0x1
BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, struct.error, ValueError, NotImplementedError, RuntimeError)


@contextmanager
def open_archive(file: IO[bytes], *, allowed: Collection[str], largest: int) -> Iterator[dict[str, IO[bytes]]]:
    """Give each member's unpacked stream by its name without `.npy`.

    `allowed`: the names there may be. `largest`: how many bytes all members together may unpack to.
    Raises UploadRefused, also when a member turns out to be damaged while it is read inside the `with`.
    """
    _check_directory(file, NPZ_DIRECTORY, NPZ_ADVICE)
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            _check_names(members, {f"{name}.npy" for name in allowed})
            _check_members(members, largest, archive.start_dir, NPZ_ADVICE)
            yield {info.filename.removesuffix(".npy"): archive.open(info) for info in members}
    except BROKEN as problem:
        raise UploadRefused("the archive is damaged or cut short", NPZ_ADVICE) from problem


def read_zip(file: IO[bytes], *, largest: int) -> Iterator[Member]:
    """Give the archive's files in the order of its directory, without folders. Each is read by its own `read`.

    `largest`: how many bytes all together may unpack to. Raises UploadRefused, also while a member is read.
    """
    _check_directory(file, ZIP_DIRECTORY, ZIP_ADVICE)
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            _check_members(members, largest, archive.start_dir, ZIP_ADVICE)
            for info in members:
                if not info.filename.endswith("/"):  # is_dir() fails at an empty name
                    yield Member(info.filename, info.file_size, partial(_content, archive, info))
    except BROKEN as problem:
        raise UploadRefused("the archive is damaged or cut short", ZIP_ADVICE) from problem


def _content(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    try:
        return archive.read(info)
    except BROKEN as problem:
        raise UploadRefused("the archive is damaged or cut short", ZIP_ADVICE) from problem


def _check_directory(file: IO[bytes], largest: int, advice: str) -> None:
    """Look at the end of the archive, so that `zipfile` reads no directory of hostile size."""
    size = file.seek(0, os.SEEK_END)
    if size < _END.size:
        raise UploadRefused("the body is empty" if size == 0 else "the body is no .npz or ZIP archive", advice)
    after = size - _END.size
    magic, _, _, _, _, length, start, comment = _END.unpack(_at(file, after, _END.size))
    if magic != _END_MAGIC or comment:
        raise UploadRefused("the body is no .npz or ZIP archive, or was cut short", advice)
    if after >= _ZIP64_LOCATOR.size + _ZIP64_END.size:
        locator = _ZIP64_LOCATOR.unpack(_at(file, after - _ZIP64_LOCATOR.size, _ZIP64_LOCATOR.size))
        if locator[0] == _ZIP64_MAGIC:
            after -= _ZIP64_LOCATOR.size + _ZIP64_END.size
            *_, length, start = _ZIP64_END.unpack(_at(file, after, _ZIP64_END.size))
    if length > largest:
        raise UploadRefused("the archive has too many members", advice)
    if start + length != after:
        raise UploadRefused("the archive is damaged: its directory is not where it says", advice)


def _at(file: IO[bytes], offset: int, size: int) -> bytes:
    file.seek(offset)
    data = read_exactly(file, size)
    return data.ljust(size, b"\0")


def _check_names(members: list[zipfile.ZipInfo], allowed: Collection[str]) -> None:
    names = [info.filename for info in members]
    if len(set(names)) != len(names):
        raise UploadRefused("the archive has two members of one name", NPZ_ADVICE)
    if not set(names) <= set(allowed):
        wanted = ", ".join(sorted(name.removesuffix(".npy") for name in allowed))
        raise UploadRefused(f"the archive has members other than {wanted}", "Leave the others out")


def _check_members(members: list[zipfile.ZipInfo], largest: int, end: int, advice: str) -> None:
    for info in members:
        if info.flag_bits & _ENCRYPTED or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise UploadRefused("the archive is encrypted or packed in a way that is not read here", advice)
    if sum(info.file_size for info in members) > largest:
        raise UploadRefused(f"the archive unpacks to more than {largest} bytes", "Send it in parts")
    _check_places(sorted(members, key=lambda info: info.header_offset), end, advice)


def _check_places(members: list[zipfile.ZipInfo], end: int, advice: str) -> None:
    """Members may not share bytes: that is how a small archive unpacks to a huge one."""
    following_offsets = [info.header_offset for info in members[1:]] + [end] * bool(members)
    for info, following in zip(members, following_offsets, strict=True):
        if info.header_offset + _LOCAL_HEADER + len(info.orig_filename) + info.compress_size > following:
            raise UploadRefused("the archive is damaged: its members overlap", advice)
