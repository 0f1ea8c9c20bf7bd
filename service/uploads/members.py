"""The files of an archive, of whatever kind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from service.refusals import UploadRefused

LONGEST_PATH = 1024


@dataclass(frozen=True, slots=True)
class Member:
    """One file: its path as written, its size in bytes, and a function that reads it, until the next is asked for."""

    path: str
    size: int
    read: Callable[[], bytes]


def clean_path(path: str) -> str:
    """Return a path without a leading `./`. Nothing is ever written to it; odd ones are refused all the same.

    Raises UploadRefused: absolute, with `..`, empty parts, backslashes or control characters, or very long.
    """
    clean = path.removeprefix("./")
    odd = "\\" in clean or any(part in ("", ".", "..") for part in clean.split("/")) or not clean.isprintable()
    if odd or len(clean) > LONGEST_PATH:
        raise UploadRefused(
            "the archive has paths that are absolute, point upwards, or cannot be printed",
            "Use paths like `<class name>/<file>`",
        )
    return clean


def is_ignored(path: str) -> bool:
    """Whether a file was left by a file manager: its name begins with a dot, or macOS made it."""
    return path.startswith("__MACOSX/") or path.rsplit("/", 1)[-1].startswith(".") or path.endswith("/Thumbs.db")
