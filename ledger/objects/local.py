"""Objects in a folder of the local disk: durable by fsync, written whole by a rename."""

import fcntl
import hashlib
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ledger.errors import ObjectMissing
from ledger.objects.disk import disk_facts
from ledger.objects.store import NAME, Written, require_name

_FOLDER = re.compile(r"[0-9a-f]{2}")
_INCOMING = "incoming"  # unfinished objects; never two hex digits, so it is no fan-out folder


class LocalObjectStore:
    """An `ObjectStore` in a folder of the local disk: `root/ab/cd/abcd...`. Files 0600, folders 0700.

    Any number of threads and processes may share a root.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._incoming = root / _INCOMING

    def verify(self) -> None:
        """See ObjectStore: nothing to look into. The folder is made when it is first written to."""

    def write(self, name: str, parts: Iterable[bytes]) -> Written:
        """See ObjectStore. The parts are consumed one by one; memory holds one at a time."""
        path = self._path(name)
        with disk_facts():
            descriptor, draft = self._begin()
            try:
                digest, size = hashlib.sha256(), 0
                with os.fdopen(descriptor, "wb") as file:
                    for part in parts:
                        file.write(part)
                        digest.update(part)
                        size += len(part)
                    file.flush()
                    os.fsync(file.fileno())
                    self._make_folder(path.parent)
                    # Renamed before the lock ends with the file, so no sweep can come in between.
                    draft.rename(path)
                fsync_directory(path.parent)
            finally:
                draft.unlink(missing_ok=True)
        return Written(size, digest.hexdigest())

    def read(self, name: str) -> bytes:
        """See ObjectStore."""
        with self._open(name) as descriptor:
            return _pread(descriptor, 0, os.fstat(descriptor).st_size)

    def read_range(self, name: str, offset: int, length: int) -> bytes:
        """See ObjectStore. Memory is bounded by the file, whatever `length` claims."""
        if offset < 0 or length < 0:
            raise ValueError("offset and length count bytes and must not be negative")
        with self._open(name) as descriptor:
            return _pread(descriptor, offset, min(length, max(os.fstat(descriptor).st_size - offset, 0)))

    def size(self, name: str) -> int:
        """See ObjectStore."""
        with self._open(name) as descriptor:
            return os.fstat(descriptor).st_size

    def delete(self, name: str) -> None:
        """See ObjectStore."""
        path = self._path(name)
        with disk_facts():
            path.unlink(missing_ok=True)
            # Also when the file was gone: a process that died after unlink may not have come to this line.
            if path.parent.is_dir():
                fsync_directory(path.parent)

    def exists(self, name: str) -> bool:
        """See ObjectStore."""
        try:
            self.size(name)
        except ObjectMissing:
            return False
        return True

    def names(self) -> Iterator[str]:
        """See ObjectStore."""
        with disk_facts():
            for outer in _folders(self._root):
                for inner in _folders(outer):
                    for path in sorted(inner.iterdir()):
                        if NAME.fullmatch(path.name) and self._path(path.name) == path:
                            yield path.name

    def sweep_temporary(self) -> int:
        """Remove what crashed writers left behind; returns how many files. Writes in progress are spared."""
        removed = 0
        with disk_facts():
            for draft in sorted(self._incoming.iterdir()) if self._incoming.is_dir() else ():
                removed += _remove_if_abandoned(draft)
            if removed:
                fsync_directory(self._incoming)
        return removed

    def _path(self, name: str) -> Path:
        require_name(name)
        return self._root / name[:2] / name[2:4] / name

    def _make_folder(self, folder: Path) -> None:
        """Make a folder of the store with its parents, each durable in its own parent."""
        if folder.is_dir():
            return
        if folder != self._root:
            self._make_folder(folder.parent)
        folder.mkdir(mode=0o700, parents=folder == self._root, exist_ok=True)
        fsync_directory(folder.parent)

    def _begin(self) -> tuple[int, Path]:
        """A new, locked, empty file. The lock tells a sweep that its writer lives; it ends with the process."""
        self._make_folder(self._incoming)
        while True:
            descriptor, path = tempfile.mkstemp(dir=self._incoming)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                if os.fstat(descriptor).st_nlink:
                    return descriptor, Path(path)
            except BaseException:
                os.close(descriptor)
                Path(path).unlink(missing_ok=True)
                raise
            os.close(descriptor)  # a sweep came between making and locking: start again

    @contextmanager
    def _open(self, name: str) -> Iterator[int]:
        path = self._path(name)
        with disk_facts():
            try:
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            except FileNotFoundError as problem:
                raise ObjectMissing(name) from problem
            try:
                yield descriptor
            finally:
                os.close(descriptor)


def fsync_directory(directory: Path) -> None:
    """Make created, renamed and removed names in `directory` survive a power cut. Raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _folders(parent: Path) -> list[Path]:
    if not parent.is_dir():
        return []
    return sorted(path for path in parent.iterdir() if _FOLDER.fullmatch(path.name))


def _remove_if_abandoned(draft: Path) -> bool:
    try:
        descriptor = os.open(draft, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False  # finished meanwhile
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        draft.unlink(missing_ok=True)
    except BlockingIOError:
        return False  # its writer lives
    finally:
        os.close(descriptor)
    return True


def _pread(descriptor: int, offset: int, length: int) -> bytes:
    """Up to `length` bytes; one system call may return fewer than asked for (2 GiB on Linux)."""
    parts = []
    while length > 0 and (part := os.pread(descriptor, length, offset)):
        parts.append(part)
        offset += len(part)
        length -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
