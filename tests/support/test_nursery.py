"""What a nursery starts is a process like any other, and ends with the tests."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support import nursery
from support.nursery import Nursery, NurseryGone, Process, start_alone
from support.waiting import wait_until

PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def small() -> Iterator[Nursery]:
    """A nursery that has imported next to nothing, so that it starts at once."""
    made = Nursery(["decimal"])
    yield made
    made.close()


class Folder:
    """Where scripts lie, and what they print."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def out(self) -> str:
        return (self.path / "out").read_text()

    @property
    def err(self) -> str:
        return (self.path / "err").read_text()

    def start(self, how: Callable[..., Process], script: str, *arguments: str, **environment: str) -> Process:
        (self.path / "script.py").write_text(script)
        return self.run(how, str(self.path / "script.py"), *arguments, **environment)

    def run(self, how: Callable[..., Process], *argv: str, **environment: str) -> Process:
        with (self.path / "out").open("wb") as out, (self.path / "err").open("wb") as err:
            return how(argv, environment={**os.environ, **environment}, out=out, err=err)

    def started(self) -> None:
        wait_until(lambda: self.out or self.err, PATIENCE_S, "it to say something")


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


@pytest.mark.parametrize(
    ("script", "status", "said"),
    [
        ("pass", 0, ""),
        ("raise SystemExit", 0, ""),
        ("import sys; sys.exit(7)", 7, ""),
        ("import sys; sys.exit('a sentence')", 1, "a sentence\n"),
        ("1 / 0", 1, "ZeroDivisionError: division by zero\n"),
        ("raise KeyboardInterrupt", -signal.SIGINT, "KeyboardInterrupt\n"),
        ("import os; os._exit(3)", 3, ""),
        ("import os; os.abort()", -signal.SIGABRT, ""),
    ],
)
def test_it_ends_as_python_ends(small: Nursery, folder: Folder, script: str, status: int, said: str) -> None:
    process = folder.start(small.start, script)
    assert process.wait(PATIENCE_S) == status
    assert process.poll() == process.returncode == status
    assert folder.err.endswith(said)
    assert bool(folder.err) == bool(said)


def test_what_it_leaves_to_the_end_still_happens(small: Nursery, folder: Folder) -> None:
    script = """
import atexit, threading, time
atexit.register(print, "atexit")
print("said", end=" ")
threading.Thread(target=lambda: (time.sleep(0.1), print("thread", end=" "))).start()
"""
    assert folder.start(small.start, script).wait(PATIENCE_S) == 0
    assert folder.out == "said thread atexit\n"


# Ctrl-C's signal is ignored by whoever was started in the background of a shell, and by all its children.
WAITING = """
import signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)
print("ready", flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT, signal.SIGUSR1])
def test_signals_reach_it(small: Nursery, folder: Folder, number: signal.Signals) -> None:
    process = folder.start(small.start, WAITING)
    folder.started()
    assert process.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.01)
    os.kill(process.pid, signal.SIGSTOP)
    process.send_signal(number)
    os.kill(process.pid, signal.SIGCONT)
    assert process.wait(PATIENCE_S) == -number
    process.kill()  # does nothing, whoever has the number now
    assert not Path(f"/proc/{process.pid}").exists()


DESCRIBE = """
import json, os, signal, sys, warnings
kept = ("SigBlk", "SigIgn", "SigCgt", "Threads", "Umask", "Seccomp", "NoNewPrivs")
status = dict(line.rstrip().split(":", 1) for line in open("/proc/self/status"))
print(json.dumps({
    "arguments": sys.argv, "path": sys.path, "name": __name__, "main": sys.modules["__main__"].__dict__ is globals(),
    "files": {n: os.path.exists(f"/proc/self/fd/{n}") and os.readlink(f"/proc/self/fd/{n}") for n in range(300)},
    "environment": dict(os.environ), "status": {name: status[name] for name in kept},
    "group": os.getpgid(0), "session": os.getsid(0), "folder": os.getcwd(), "nice": os.nice(0),
    "read": sys.stdin.read(), "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
    "handlers": {n.name: str(signal.getsignal(n)).split(" at ")[0] for n in signal.Signals},
    "encodings": [f.encoding for f in (sys.stdin, sys.stdout, sys.stderr)],
    "lines": [f.line_buffering for f in (sys.stdin, sys.stdout, sys.stderr)],
    "warnings": sys.warnoptions, "filters": len(warnings.filters),
}))
"""


def test_it_begins_as_a_process_that_was_started_alone(
    small: Nursery, folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also beside others, with files of ours open, and after the environment and the folder of the tests changed."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    other = Folder(elsewhere)
    beside = other.start(small.start, WAITING)
    other.started()
    monkeypatch.chdir(elsewhere)
    monkeypatch.setenv("LACUNA_OURS", "not asked for")
    asked = {name: value for name, value in os.environ.items() if name != "LACUNA_OURS"}
    asked |= {"LACUNA_POLL_MS": "7", "PYTHONPATH": os.pathsep.join([str(tmp_path), ""])}

    def described(how: Callable[..., Process]) -> Any:
        def only_asked(argv: list[str], *, environment: object, **files: Any) -> Process:
            return how(argv, environment=asked, **files)

        process = folder.start(only_asked, DESCRIBE, "an", "argument")
        assert process.wait(PATIENCE_S) == 0, folder.err
        return json.loads(folder.out)

    forked, alone = described(small.start), described(start_alone)
    assert forked == alone
    assert forked["environment"] == asked
    assert [name for name in forked["files"].values() if name] == [
        "/dev/null",
        *(str(tmp_path / n) for n in ("out", "err")),
    ]
    beside.kill()
    beside.wait()


DRAW = """
import json, os, random, sys
import numpy
print(json.dumps([random.random(), numpy.random.random(), "torch" in sys.modules, dict(os.environ)]))
"""


def test_only_imports_are_shared(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Children draw random numbers of their own, and see no variable that an import has set."""
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    said = []
    for _ in range(2):
        assert folder.start(nursery.start, DRAW).wait(PATIENCE_S) == 0, folder.err
        said.append(json.loads(folder.out))
    (drawn, numpy_drew, imported, environment), other = said
    assert drawn != other[0]
    assert numpy_drew != other[1]
    assert imported, "what is heavy was there before"
    assert environment == dict(os.environ)


def test_programs_run_as_main(folder: Folder) -> None:
    for program, words in (("service.cli", "Usage"), ("workers", "nudges"), ("workers.reconciler", "usage")):
        assert folder.run(nursery.start, "-m", program, "--help").wait(PATIENCE_S) == 0, folder.err
        assert words in folder.out
        assert folder.err == "", "nothing was imported before it ran, either"


def test_what_tests_import_does_not_keep_a_nursery_from_starting_things(small: Nursery) -> None:
    for module in nursery.MODULES:
        importlib.import_module(module)
    assert small.can_start(os.environ)
    assert not small.can_start({**os.environ, "OMP_NUM_THREADS": "1"})


def test_other_settings_of_torch_need_other_imports(folder: Folder) -> None:
    script = "import os, sys; print(os.environ['OMP_NUM_THREADS'], 'torch' in sys.modules)"
    process = folder.start(nursery.start, script, OMP_NUM_THREADS="1")
    assert process.wait(PATIENCE_S) == 0
    assert folder.out.split() == ["1", "False"]


def test_a_nursery_that_cannot_import_says_why(folder: Folder) -> None:
    broken = Nursery(["no_such_module"])
    with pytest.raises(NurseryGone, match=r"(?s)status 1.*No module named 'no_such_module'"):
        folder.start(broken.start, "pass")
    broken.close()


TESTS = """
import os, sys, time
from pathlib import Path
from support.nursery import Nursery
nursery = Nursery([])
with open(sys.argv[1], "wb") as out:
    script = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    Path(sys.argv[1]).with_name("sleeping.py").write_text(script)
    argv = [str(Path(sys.argv[1]).with_name("sleeping.py"))]
    children = [nursery.start(argv, environment=dict(os.environ), out=out, err=out) for _ in range(2)]
print(nursery.pid, *(child.pid for child in children), flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("who", ["tests", "nursery"])
def test_everything_ends_with_killed_tests_or_a_killed_nursery(tmp_path: Path, who: str) -> None:
    tests = subprocess.Popen(
        [sys.executable, "-c", TESTS, str(tmp_path / "out")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert tests.stdout is not None
    home, *children = map(int, tests.stdout.readline().split())
    assert len(children) == 2
    assert all(running(child) for child in children)
    os.kill(tests.pid if who == "tests" else home, signal.SIGKILL)
    wait_until(lambda: not any(map(running, (home, *children))), PATIENCE_S, "all of them to end")
    tests.kill()
    tests.wait()
    tests.stdout.close()


def running(pid: int) -> bool:
    """Whether a process lives; one that has ended but was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
