"""Run one server until our standard input closes, then stop it and remove its folder.

A script, started by `support.processes` in a session of its own: Ctrl-C in the terminal does not reach it, and if the
tests are killed, even by SIGKILL, the pipe on its standard input closes and it cleans up. It imports nothing but the
standard library, so it starts quickly.

Its one argument is a JSON object: `argv`, `folder` (working directory, removed at the end), `log` (file for the
output), `environment`, `stop_signal` (a number), `identity` (keyword arguments of Popen: user, group; empty: stay who
we are).
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from threading import Event
from typing import Any

STOP_TIMEOUT_S = 10.0
LOOK_EVERY_S = 0.1


def start(spec: dict[str, Any]) -> subprocess.Popen[bytes]:
    """Start the server; its output goes to the log."""
    with Path(spec["log"]).open("ab") as log:
        return subprocess.Popen(
            spec["argv"],
            cwd=spec["folder"],
            env=spec["environment"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            **spec["identity"],
        )


def wait_for_the_end(server: subprocess.Popen[bytes], told_to_stop: Event) -> None:
    """Return when the server has ended by itself, we were told to stop, or our standard input has reached its end."""
    while server.poll() is None and not told_to_stop.is_set():
        readable, _, _ = select.select([sys.stdin], [], [], LOOK_EVERY_S)
        if readable and not os.read(sys.stdin.fileno(), 1):
            return


def stop(server: subprocess.Popen[bytes], stop_signal: int) -> None:
    """Ask the server to stop; kill it when it takes longer than STOP_TIMEOUT_S."""
    if server.poll() is None:
        server.send_signal(stop_signal)
    try:
        server.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def main(spec: dict[str, Any]) -> int:
    """Start, wait, stop, clean up; return the server's exit status."""
    told_to_stop = Event()
    signal.signal(signal.SIGTERM, lambda *_: told_to_stop.set())
    server = start(spec)
    wait_for_the_end(server, told_to_stop)
    ended_alone = server.poll() is not None
    stop(server, spec["stop_signal"])
    if not ended_alone:  # a server that failed to start leaves its log for the caller, who is still there
        shutil.rmtree(spec["folder"], ignore_errors=True)
    return server.returncode


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
