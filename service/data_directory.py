"""The data directory of an embedded server: who may use it, and where its server listens."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from service.local_errors import DataDirectoryBusy, DataDirectoryUnusable

LOCK, ADDRESS = "lock", "server.json"


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the directory for this process; it is made if missing, for its owner only.

    The lock ends with the process, however it ends.
    Raises DataDirectoryBusy, DataDirectoryUnusable.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as problem:
        raise DataDirectoryUnusable(directory, problem.strerror or str(problem)) from problem
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataDirectoryBusy(directory, os.read(descriptor, 32).decode(errors="replace").strip()) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def write_address(directory: Path, url: str) -> None:
    """Note for tools on this machine, and this user only, where the server listens."""
    draft = directory / f".{ADDRESS}.draft"
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump({"url": url, "process": os.getpid()}, file)
    draft.replace(directory / ADDRESS)


def remove_address(directory: Path) -> None:
    """Take the note back."""
    (directory / ADDRESS).unlink(missing_ok=True)


def read_address(directory: Path) -> str | None:
    """Return the URL of the directory's server, or None if there is no note of one."""
    try:
        content = json.loads((directory / ADDRESS).read_text())
    except (OSError, ValueError):
        return None
    url = content.get("url") if isinstance(content, dict) else None
    return url if isinstance(url, str) else None
