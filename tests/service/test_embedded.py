"""One server per directory, one worker per server, and no worker without its server."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.waiting import wait_until

from service.data_directory import locked, read_address, remove_address, write_address
from service.local_errors import DataDirectoryBusy, DataDirectoryUnusable
from service.worker_process import WorkerProcess

WAIT_S = 20

# Writes a line for its start, for every nudge and for its end; dies when the file `die` appears.
WORKER = """
import os, sys
log = open(sys.argv[1], "a", buffering=1)
log.write(f"start {os.getpid()}\\n")
if os.path.exists(sys.argv[1] + ".die"):
    sys.exit(3)
for line in sys.stdin:
    log.write("nudge\\n")
log.write("end\\n")
"""


@pytest.fixture
def diary(tmp_path: Path) -> Path:
    """Where the stand-in for the worker writes what happened to it."""
    return tmp_path / "diary"


@pytest.fixture
def worker(diary: Path) -> Iterator[WorkerProcess]:
    process = WorkerProcess(os.environ, command=[sys.executable, "-c", WORKER, str(diary)], first_pause_s=0.01)
    process.start()
    wait_until(lambda: starts(diary), WAIT_S, "the worker's start")
    yield process
    process.stop()


def lines(diary: Path) -> list[str]:
    return diary.read_text().splitlines() if diary.exists() else []


def starts(diary: Path) -> list[int]:
    return [int(line.split()[1]) for line in lines(diary) if line.startswith("start")]


def is_alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_second_server_on_the_directory_is_told_who_has_it(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    with locked(directory), pytest.raises(DataDirectoryBusy, match=f"process {os.getpid()}"), locked(directory):
        pass
    with locked(directory):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700


def test_a_directory_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataDirectoryUnusable, match="--data-dir"), locked(tmp_path / "file" / "data"):
        pass


def test_the_address_is_noted_for_this_user_only(tmp_path: Path) -> None:
    assert read_address(tmp_path) is None
    write_address(tmp_path, "http://127.0.0.1:1")
    write_address(tmp_path, "http://127.0.0.1:2")
    assert read_address(tmp_path) == "http://127.0.0.1:2"
    assert stat.S_IMODE((tmp_path / "server.json").stat().st_mode) == 0o600
    remove_address(tmp_path)
    assert read_address(tmp_path) is None


@pytest.mark.parametrize("content", ["", "[]", '{"url": 5}'])
def test_a_broken_note_is_no_address(tmp_path: Path, content: str) -> None:
    (tmp_path / "server.json").write_text(content)
    assert read_address(tmp_path) is None


def test_a_nudge_reaches_the_worker_and_stopping_ends_it_gently(worker: WorkerProcess, diary: Path) -> None:
    worker.nudge()
    wait_until(lambda: "nudge" in lines(diary), WAIT_S, "the nudge")
    worker.stop()
    assert lines(diary)[-1] == "end"
    assert worker.pid is None
    worker.nudge()  # after the end: nothing happens


def test_a_worker_that_is_killed_is_started_again(worker: WorkerProcess, diary: Path) -> None:
    (first,) = starts(diary)
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: len(starts(diary)) == 2, WAIT_S, "a new worker")
    worker.nudge()
    wait_until(lambda: "nudge" in lines(diary), WAIT_S, "the new worker's nudge")
    assert worker.pid == starts(diary)[1]


def test_a_worker_that_keeps_dying_is_tried_again_and_again(worker: WorkerProcess, diary: Path) -> None:
    die = Path(f"{diary}.die")
    die.touch()
    os.kill(starts(diary)[0], signal.SIGKILL)
    wait_until(lambda: len(starts(diary)) >= 4, WAIT_S, "three more tries")
    die.unlink()
    wait_until(lambda: worker.pid == starts(diary)[-1] and is_alive(starts(diary)[-1]), WAIT_S, "a worker that stays")


def test_a_deaf_worker_does_not_block_a_nudge_and_is_killed_at_the_end() -> None:
    deaf = [sys.executable, "-c", "import signal; signal.pause()"]
    process = WorkerProcess(os.environ, command=deaf)
    process.start()
    for _ in range(200_000):  # more than a pipe holds
        process.nudge()
    pid = process.pid
    assert pid is not None
    process.stop(grace_s=0.2)
    assert not is_alive(pid)


SERVER = """
import os, signal, sys
from service.worker_process import WorkerProcess
WorkerProcess(os.environ, command=[sys.executable, "-c", sys.argv[2], sys.argv[1]]).start()
signal.pause()
"""


def test_a_worker_ends_with_a_server_that_is_killed(diary: Path) -> None:
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(diary), WORKER],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.DEVNULL,
    )
    (pid,) = wait_until(lambda: starts(diary), WAIT_S, "the worker's start")
    server.kill()
    server.wait()
    wait_until(lambda: not is_alive(pid), WAIT_S, "the worker's end")
    assert lines(diary)[-1] == "end"
