"""Which code did something: one digest over a program's modules, which everybody can compute from the same release."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path


def digest_of(packages: Iterable[Path]) -> str:
    """Return SHA-256, in hex, over all Python modules in these packages' folders.

    Each module counts with its path from the folder that holds the package, its length and its bytes, in the order of
    the paths. Raises OSError.
    """
    modules = {
        path.relative_to(package.parent).as_posix(): path for package in packages for path in package.rglob("*.py")
    }
    state = hashlib.sha256()
    for name in sorted(modules):
        content = modules[name].read_bytes()
        state.update(f"{name}\0{len(content)}\0".encode() + content)
    return state.hexdigest()
