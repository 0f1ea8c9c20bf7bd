"""Fork processes that have nothing heavy left to import: the other end of `support.nursery`, which starts this script.

It imports modules, and nothing else happens here: no setting is read, no thread runs, no file is open, nothing is
computed, so that a child starts as a fresh interpreter does. Its arguments are the number of a socket and the names of
the modules. The socket carries one JSON object per message:

    {"argv": ["-m", "workers"], "environment": {...}, "folder": "..."} + two open files  ->  the child's number
    {"reap": number}  ->  the exit status of a child that has ended, negative for a signal

When the socket reaches its end, the tests are over, and every child is killed. If this process itself is killed, the
kernel kills them.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import sys
from pathlib import Path
from typing import Any

CHECKOUT = str(Path(__file__).parents[2])
PROGRAMS = ("service.cli", "workers.__main__", "workers.reconciler")
LARGEST_MESSAGE = 2**20
PR_SET_PDEATHSIG = 1


def load(modules: list[str]) -> None:
    """Import these; what children may run as `__main__` is forgotten again, as `runpy` loads that anew."""
    sys.path[0] = CHECKOUT  # as for `python -m`; this script's folder would hide packages by names of helpers
    for module in modules:
        importlib.import_module(module)
    for module in PROGRAMS:
        sys.modules.pop(module, None)
    gc.collect()
    gc.freeze()  # a collection in a child need not copy the pages of what was there before it


def serve(orders: socket.socket) -> dict[str, Any] | None:
    """Do what the messages say. Returns None when there will be no more, and in a child the order that made it."""
    ours, children = os.getpid(), set[int]()
    while True:
        message, files, _, _ = socket.recv_fds(orders, LARGEST_MESSAGE, 2)
        if not message:
            break
        order: dict[str, Any] = json.loads(message)
        if "reap" in order:
            children.remove(order["reap"])
            _, status = os.waitpid(order["reap"], 0)
            answer = os.waitstatus_to_exitcode(status)
        else:
            answer = os.fork()
            if answer == 0:
                orders.close()
                leave_home(ours, files)
                return order
            children.add(answer)
            for file in files:
                os.close(file)
        orders.send(str(answer).encode())
    for child in children:
        os.kill(child, signal.SIGKILL)
    for child in children:
        os.waitpid(child, 0)
    return None


def leave_home(parent: int, files: list[int]) -> None:
    """Become a process of its own: with these files as output, and only as long as the parent lives."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before we said so
        os.kill(os.getpid(), signal.SIGKILL)
    for number, file in enumerate(files, start=1):
        os.dup2(file, number)
        os.close(file)


def live(order: dict[str, Any], paths: list[str]) -> None:
    """Run a module or a script as `python` does; `paths` are those of an interpreter that got none from anybody."""
    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["environment"])
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()  # from the system; `random` does so by itself
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    what, *arguments = order["argv"]
    first = order["folder"] if what == "-m" else str(Path(what).parent)
    added = os.environ.get("PYTHONPATH")
    named = [os.path.abspath(path) for path in added.split(os.pathsep)] if added else []  # noqa: PTH100  # as `site` does
    sys.path[:] = [first, *dict.fromkeys([*named, *paths])]
    if what == "-m":
        sys.argv = arguments
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = [what, *arguments]
        runpy.run_path(what, run_name="__main__")


if __name__ == "__main__":
    # Ctrl-C in a terminal reaches us too. It is for the children, and for the tests, whose end is ours.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    given = sys.path[1:]
    load(sys.argv[2:])
    if (mine := serve(socket.socket(fileno=int(sys.argv[1])))) is None:
        os._exit(0)
    live(mine, given)  # what it raises ends this process as it would end any other
