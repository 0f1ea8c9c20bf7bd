"""Reading a tar archive from a stranger, member by member, with bounded memory. Nothing is ever extracted.

Only plain files and directories are read: no links, devices or sparse files. Long names come from GNU's and from pax
headers. Python's own tarfile keeps every member in memory and believes the size of extended headers.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import IO

from service.refusals import UploadRefused
from service.uploads.members import Member
from service.uploads.npy import read_exactly

ADVICE = "Make the archive with tar or zip from plain files, and send it again"
BLOCK = 512
LARGEST_EXTENDED = 64 * 1024
_FILE, _DIRECTORY, _LONG_NAME, _PAX, _PAX_GLOBAL = (b"0", b"\0"), b"5", b"L", b"x", b"g"
_SIZE, _CHECKSUM, _TYPE, _PREFIX = slice(124, 136), slice(148, 156), slice(156, 157), slice(345, 500)


@dataclass(frozen=True, slots=True)
class _Header:
    name: bytes
    size: int
    type: bytes


def read_tar(file: IO[bytes]) -> Iterator[Member]:
    """Give the archive's files in order, without their directories. Raises UploadRefused."""
    end = file.seek(0, os.SEEK_END)
    if end == 0:
        raise UploadRefused("the body is empty", ADVICE)
    at = 0
    name: bytes | None = None
    size: int | None = None
    while True:
        file.seek(at)
        block = read_exactly(file, BLOCK)
        if len(block) < BLOCK:
            raise UploadRefused("the archive is no tar file, or was cut short", ADVICE)
        if not block.strip(b"\0"):
            return
        header = _parse(block)
        start = at + BLOCK
        length = size if size is not None and header.type in _FILE else header.size
        at = start + -(-length // BLOCK) * BLOCK
        if start + length > end:
            raise UploadRefused("the archive was cut short", ADVICE)
        if header.type in (_LONG_NAME, _PAX, _PAX_GLOBAL):
            data = _extended(file, header)
            if header.type == _LONG_NAME:
                name = data.rstrip(b"\0")
            elif header.type == _PAX:
                name, size = _pax(data, name, size)
            continue
        if header.type in _FILE:
            yield Member(
                _text(name if name is not None else header.name), length, partial(_content, file, start, length)
            )
        elif header.type != _DIRECTORY:
            raise UploadRefused("the archive has links, devices or sparse files", ADVICE)
        name = size = None


def _content(file: IO[bytes], start: int, length: int) -> bytes:
    file.seek(start)
    return read_exactly(file, length)


def _parse(block: bytes) -> _Header:
    stated = _number(block[_CHECKSUM])
    if stated != sum(block) - sum(block[_CHECKSUM]) + 8 * 32:
        raise UploadRefused("the archive is no tar file, or is damaged", ADVICE)
    name = block[:100].split(b"\0", 1)[0]
    if block[257:263] == b"ustar\0" and (prefix := block[_PREFIX].split(b"\0", 1)[0]):
        name = prefix + b"/" + name
    kind = b"0" if block[_TYPE] == b"7" else block[_TYPE]
    return _Header(name, _number(block[_SIZE]), kind)


def _number(field: bytes) -> int:
    if field[0] & 0x80:  # GNU: base 256
        return int.from_bytes(field, "big") - (0x80 << 8 * (len(field) - 1))
    digits = field.strip(b" \0")
    if not digits:
        return 0
    if not digits.isdigit() or b"8" in digits or b"9" in digits:
        raise UploadRefused("the archive is no tar file, or is damaged", ADVICE)
    return int(digits, 8)


def _extended(file: IO[bytes], header: _Header) -> bytes:
    if header.size > LARGEST_EXTENDED:
        raise UploadRefused(f"the archive has an extended header of {header.size} bytes", ADVICE)
    return read_exactly(file, header.size)


def _pax(data: bytes, name: bytes | None, size: int | None) -> tuple[bytes | None, int | None]:
    """Read records `length key=value` and return name and size as they say."""
    while data:
        digits, _, _ = data.partition(b" ")
        length = int(digits) if digits.isdigit() and len(digits) < 8 else 0
        key, equals, value = data[len(digits) + 1 : length - 1].partition(b"=")
        if not len(digits) + 2 < length <= len(data) or not equals or data[length - 1 : length] != b"\n":
            raise UploadRefused("the archive is damaged: a pax header cannot be read", ADVICE)
        if key == b"path":
            name = value
        elif key == b"size":
            if not value.isdigit() or len(value) > 18:
                raise UploadRefused("the archive is damaged: a pax header cannot be read", ADVICE)
            size = int(value)
        elif key.startswith(b"GNU.sparse"):
            raise UploadRefused("the archive has links, devices or sparse files", ADVICE)
        data = data[length:]
    return name, size


def _text(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError as problem:
        raise UploadRefused("the archive has names that are not UTF-8", ADVICE) from problem
