"""The local object store: whole objects or none, on real disks that are full, read-only or interrupted."""

import errno
import hashlib
import os
import random
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ledger.errors import ObjectMissing, StoreFailed, StoreFull, StoreReadOnly
from ledger.objects import LocalObjectStore

NAME = "0123456789abcdef" * 2
OTHER = "fedcba9876543210" * 2


@pytest.fixture
def store(tmp_path: Path) -> LocalObjectStore:
    return LocalObjectStore(tmp_path / "objects")


def _files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB of its own. Needs the right to mount; skips visibly without it."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "lacuna-test", str(disk)]
    if sys.platform != "linux" or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small tmpfs is not allowed here; the errno tests below still run")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_what_was_written_is_read_back(store: LocalObjectStore) -> None:
    content = random.Random(1).randbytes(100_000)
    written = store.write(NAME, (content[k : k + 999] for k in range(0, len(content), 999)))
    assert (written.size, written.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert store.read(NAME) == content
    assert store.size(NAME) == len(content)
    assert store.read_range(NAME, 10, 20) == content[10:30]
    assert store.read_range(NAME, len(content) - 5, 2**62) == content[-5:]  # bounded by the file
    assert store.read_range(NAME, len(content) + 5, 10) == b""
    assert list(store.names()) == [NAME]
    with pytest.raises(ValueError, match="negative"):
        store.read_range(NAME, -1, 10)


def test_writing_again_replaces_in_one_step(store: LocalObjectStore) -> None:
    store.write(NAME, [b"first"])
    with ThreadPoolExecutor(4) as pool:
        contents = [bytes([k]) * 10_000 for k in range(16)]
        list(pool.map(lambda content: store.write(NAME, [content]), contents))
    assert store.read(NAME) in contents
    assert list(store.names()) == [NAME]
    assert store.sweep_temporary() == 0


def test_deleting_is_idempotent(store: LocalObjectStore, tmp_path: Path) -> None:
    store.write(NAME, [b"x"])
    store.write(OTHER, [b"x"])
    for _ in range(2):
        store.delete(NAME)
        assert not store.exists(NAME)
    for missing in (store.read, store.size, lambda name: store.read_range(name, 0, 1)):
        with pytest.raises(ObjectMissing):
            missing(NAME)
    assert [path.name for path in _files(tmp_path)] == [OTHER]
    LocalObjectStore(tmp_path / "never made").delete(NAME)


def test_only_the_owner_may_open_files_and_folders(store: LocalObjectStore, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        store.write(NAME, [b"x"])
    finally:
        os.umask(before)
    for path in (tmp_path / "objects").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)
    assert stat.S_IMODE((tmp_path / "objects").stat().st_mode) == 0o700


def test_strange_files_are_not_listed_and_links_are_not_followed(store: LocalObjectStore, tmp_path: Path) -> None:
    store.write(NAME, [b"x"])
    folder = tmp_path / "objects" / NAME[:2] / NAME[2:4]
    (folder / "notes.txt").write_bytes(b"")
    (folder / OTHER).write_bytes(b"")  # a good name in the wrong folder
    assert list(store.names()) == [NAME]
    assert not store.exists(OTHER)
    (tmp_path / "secret").write_bytes(b"secret")
    (folder / NAME).unlink()
    (folder / NAME).symlink_to(tmp_path / "secret")
    with pytest.raises(StoreFailed):
        store.read(NAME)


def test_the_order_of_writing_survives_a_power_cut(store: LocalObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Content durable before the name appears, the name durable before `write` returns; a removal likewise."""
    store.write(OTHER, [b"makes the folders"])
    steps: list[str] = []
    fsync, rename, unlink = os.fsync, Path.rename, Path.unlink

    def spy_fsync(descriptor: int) -> None:
        steps.append("fsync folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "fsync file")
        fsync(descriptor)

    def spy_rename(path: Path, target: Path) -> Path:
        steps.append("rename")
        return rename(path, target)

    def spy_unlink(path: Path, missing_ok: bool = False) -> None:
        if path.name == OTHER:
            steps.append("unlink")
        unlink(path, missing_ok)

    monkeypatch.setattr(os, "fsync", spy_fsync)
    monkeypatch.setattr(Path, "rename", spy_rename)
    monkeypatch.setattr(Path, "unlink", spy_unlink)
    store.write(OTHER, [b"x"])
    assert steps == ["fsync file", "rename", "fsync folder"]
    steps.clear()
    store.delete(OTHER)
    store.delete(OTHER)  # an earlier process may have died between the two steps
    assert steps == ["unlink", "fsync folder", "unlink", "fsync folder"]


KILLED = """
import os, signal, sys
from pathlib import Path
from ledger.objects import LocalObjectStore
def source():
    yield b"half" * 100_000
    os.kill(os.getpid(), signal.SIGKILL)
LocalObjectStore(Path(sys.argv[1])).write(sys.argv[2], source())
"""


def test_the_leftovers_of_a_killed_writer_are_swept(store: LocalObjectStore, tmp_path: Path) -> None:
    root = tmp_path / "objects"
    ended = subprocess.run([sys.executable, "-c", KILLED, str(root), NAME], check=False, timeout=60)
    assert ended.returncode == -signal.SIGKILL
    assert sum(path.stat().st_size for path in _files(root)) >= 400_000  # there is something to sweep
    assert list(store.names()) == []
    assert not store.exists(NAME)
    assert store.sweep_temporary() == 1
    assert _files(root) == []
    assert store.sweep_temporary() == 0


def test_a_sweep_spares_writers_that_live(store: LocalObjectStore, tmp_path: Path) -> None:
    def source() -> Iterator[bytes]:
        yield b"first "
        assert LocalObjectStore(tmp_path / "objects").sweep_temporary() == 0
        yield b"second"

    store.write(NAME, source())
    assert store.read(NAME) == b"first second"


def test_a_sweep_between_making_and_locking_a_file_costs_only_a_retry(
    store: LocalObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    swept: list[int] = []

    def interrupted(dir: Path) -> tuple[int, str]:
        made = mkstemp(dir=dir)
        if not swept:
            swept.append(store.sweep_temporary())
        return made

    mkstemp = tempfile.mkstemp
    monkeypatch.setattr(tempfile, "mkstemp", interrupted)
    store.write(NAME, [b"x"])
    assert swept == [1]
    assert store.read(NAME) == b"x"


def test_a_full_disk_keeps_nothing_and_recovers(small_disk: Path) -> None:
    store = LocalObjectStore(small_disk)
    store.write(OTHER, [b"kept"])
    with pytest.raises(StoreFull, match="ENOSPC"):
        store.write(NAME, [bytes(65_536)] * 16)
    assert [path.name for path in _files(small_disk)] == [OTHER]
    store.write(NAME, [bytes(65_536)])  # the room was given back
    assert sorted(store.names()) == [NAME, OTHER]


def test_a_disk_mounted_read_only_is_named_so(small_disk: Path) -> None:
    store = LocalObjectStore(small_disk)
    store.write(OTHER, [b"kept"])
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(StoreReadOnly, match="EROFS"):
        store.write(NAME, [b"x"])
    with pytest.raises(StoreReadOnly, match="EROFS"):
        store.delete(OTHER)
    assert store.read(OTHER) == b"kept"


LIMITED = """
import resource, sys
from pathlib import Path
from ledger.errors import StoreFull
from ledger.objects import LocalObjectStore
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    LocalObjectStore(Path(sys.argv[1])).write(sys.argv[2], [bytes(65_536)] * 4)
except StoreFull as problem:
    print(problem)
"""


def test_the_limit_of_a_files_size_is_a_full_store(tmp_path: Path) -> None:
    command = [sys.executable, "-c", LIMITED, str(tmp_path), NAME]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert "EFBIG" in ended.stdout
    assert _files(tmp_path) == []


@pytest.mark.parametrize(
    ("code", "fact"),
    [
        (errno.ENOSPC, StoreFull),
        (errno.EDQUOT, StoreFull),
        (errno.EROFS, StoreReadOnly),
        (errno.EACCES, StoreReadOnly),
        (errno.EPERM, StoreReadOnly),
        (errno.EIO, StoreFailed),
    ],
)
@pytest.mark.parametrize("step", ["fsync", "rename"])
def test_the_systems_errors_become_facts_and_leave_nothing(
    store: LocalObjectStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    fact: type[StoreFailed],
    step: str,
) -> None:
    store.write(OTHER, [b"makes the folders"])

    def fails(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    owner: object = os if step == "fsync" else Path
    with monkeypatch.context() as patch:
        patch.setattr(owner, step, fails)
        with pytest.raises(fact) as caught:
            store.write(OTHER[:4] + NAME[4:], [b"x"])
    assert type(caught.value) is fact
    assert [path.name for path in _files(tmp_path)] == [OTHER]


def test_not_knowing_is_not_absence(store: LocalObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write(NAME, [b"x"])

    def fails(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    checks: list[Callable[[str], object]] = [store.exists, store.read]
    monkeypatch.setattr(os, "open", fails)
    for check in checks:
        with pytest.raises(StoreFailed):
            check(NAME)
