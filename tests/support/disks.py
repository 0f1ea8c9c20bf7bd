"""Small disks of our own: mounted, filled, made read-only."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

FILLER = "filler"

Mount = Callable[[Path, int], Path]


class CannotMount(Exception):
    """Nothing can be mounted here; the message says why."""


@contextlib.contextmanager
def mounts() -> Iterator[Mount]:
    """Give a function that mounts an empty disk in memory of so many bytes at a path; all are unmounted in the end.

    It raises CannotMount.
    """
    made: list[Path] = []

    def mount(path: Path, size: int) -> Path:
        if os.geteuid() != 0:
            raise CannotMount("only root may mount, and these tests do not run as root")
        path.mkdir(parents=True, exist_ok=True)
        _run("mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "lacuna-test", str(path))
        made.append(path)
        return path

    try:
        yield mount
    finally:
        for path in reversed(made):
            _run("umount", "--lazy", str(path))


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotMount(f"`{' '.join(command)}` said: {done.stderr.strip()}")


def remount(disk: Path, mode: str) -> None:
    """Remount a disk `ro` or `rw`. Raises CannotMount."""
    _run("mount", "-o", f"remount,{mode}", str(disk))


def fill(disk: Path) -> None:
    """Leave not one byte free."""
    with (disk / FILLER).open("ab", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError as problem:
                if problem.errno != errno.ENOSPC:
                    raise


def free(disk: Path) -> None:
    """Give back what `fill` took."""
    (disk / FILLER).unlink()
