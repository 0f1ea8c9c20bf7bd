"""The project's own text files: everything below the checkout that .gitignore does not name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]


def source_files(root: Path = CHECKOUT) -> Iterator[Path]:
    """Each file that git would keep, without asking git: an unpacked archive has no repository.

    Reads only plain name patterns from `.gitignore`, which is all that the project's own file holds.
    """
    lines = (root / ".gitignore").read_text().split()
    ignored = [".git", *(line.strip("/") for line in lines if not line.startswith("#"))]
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not any(fnmatch(name, pattern) for pattern in ignored)]
        for name in names:
            if not any(fnmatch(name, pattern) for pattern in ignored):
                yield Path(folder, name)


def text_of(path: Path) -> str:
    """The file's text, or nothing when it is not text (an image)."""
    content = path.read_bytes()
    return "" if b"\0" in content else content.decode(errors="replace")
