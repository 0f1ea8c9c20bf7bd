"""The digest over a program's modules: the same for the same release, another for any other."""

from __future__ import annotations

import hashlib
from pathlib import Path

from evidence.code import digest_of


def write(root: Path, **files: str) -> list[Path]:
    """Write modules of the packages a and b: names with a double underscore in the place of a slash."""
    for name, content in files.items():
        path = root / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return [root / "a", root / "b"]


def test_it_is_what_anybody_computes(tmp_path: Path) -> None:
    packages = write(tmp_path, a__one="1", a__in__two="22", b__one="")
    state = hashlib.sha256(b"a/in/two.py\x002\x0022" + b"a/one.py\x001\x001" + b"b/one.py\x000\x00")
    assert digest_of(packages) == digest_of(reversed(packages)) == state.hexdigest()
    (tmp_path / "a/__pycache__").mkdir()
    (tmp_path / "a/__pycache__/one.pyc").write_bytes(b"compiled")
    assert digest_of(packages) == state.hexdigest()


def test_every_change_is_another_digest(tmp_path: Path) -> None:
    changes: dict[str, dict[str, str]] = {
        "as it is": {"a__one": "1", "a__two": "2", "b__one": "x"},
        "a byte": {"a__one": "1", "a__two": "3", "b__one": "x"},
        "a byte moved to the next module": {"a__one": "12", "a__two": "", "b__one": "x"},
        "a module moved": {"a__one": "1", "b__two": "2", "b__one": "x"},
        "a module renamed": {"a__one": "1", "a__tow": "2", "b__one": "x"},
        "a module added": {"a__one": "1", "a__two": "2", "b__one": "x", "b__two": ""},
        "a module removed": {"a__one": "1", "b__one": "x"},
    }
    digests = {how: digest_of(write(tmp_path / how.replace(" ", "_"), **files)) for how, files in changes.items()}
    assert len(set(digests.values())) == len(changes)
