"""The one worker process of an embedded server: started, nudged, restarted when it dies, ended with the server."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence

import structlog

COMMAND = (sys.executable, "-m", "workers", "--child")
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
STEADY_S = 60.0
"""A worker that lived this long starts again without a pause."""

log = structlog.get_logger(__name__)


class WorkerProcess:
    """Keeps one child alive. The child ends by itself once its standard input closes, so also when we are killed."""

    def __init__(
        self,
        environment: Mapping[str, str],
        *,
        command: Sequence[str] = COMMAND,
        monotonic: Callable[[], float] = time.monotonic,
        first_pause_s: float = FIRST_PAUSE_S,
    ) -> None:
        """`environment` is the child's whole environment."""
        self._environment = dict(environment)
        self._command = list(command)
        self._monotonic = monotonic
        self._first_pause_s = first_pause_s
        self._stopping = threading.Event()
        self._pipe_lock = threading.Lock()  # a nudge must not write to a number that is closed and used anew
        self._child: subprocess.Popen[bytes] | None = None
        self._keeper: threading.Thread | None = None

    @property
    def pid(self) -> int | None:
        """The child's process number, None while there is none."""
        child = self._child
        return child.pid if child is not None and child.poll() is None else None

    def start(self) -> None:
        """Start the child and the thread that watches it."""
        self._spawn()
        self._keeper = threading.Thread(target=self._keep_alive, name="worker-keeper", daemon=True)
        self._keeper.start()

    def nudge(self) -> None:
        """Tell the worker to look for jobs at once. Never waits; a lost nudge costs only the worker's own pause."""
        with self._pipe_lock:
            child = self._child
            if child is not None and child.stdin is not None and not child.stdin.closed:
                with contextlib.suppress(BlockingIOError, BrokenPipeError):
                    os.write(child.stdin.fileno(), b"\n")

    def stop(self, *, grace_s: float = 20.0) -> None:
        """Ask the child to end by closing its standard input; kill it after `grace_s` seconds."""
        with self._pipe_lock:
            self._stopping.set()
            child = self._child
            if child is not None and child.stdin is not None:
                with contextlib.suppress(BrokenPipeError):
                    child.stdin.close()
        if child is not None:
            try:
                child.wait(grace_s)
            except subprocess.TimeoutExpired:
                log.warning("worker.killed", pid=child.pid, grace_s=grace_s)
                child.kill()
                child.wait()
        if self._keeper is not None:
            self._keeper.join()

    def _spawn(self) -> subprocess.Popen[bytes] | None:
        with self._pipe_lock:
            if self._stopping.is_set():
                return None
            if self._child is not None and self._child.stdin is not None:
                with contextlib.suppress(BrokenPipeError):
                    self._child.stdin.close()
            child = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                env=self._environment,
                bufsize=0,
                start_new_session=True,  # Ctrl-C in the terminal is for the server, which then ends the worker
            )
            assert child.stdin is not None
            os.set_blocking(child.stdin.fileno(), False)
            self._child = child
        log.info("worker.started", pid=child.pid)
        return child

    def _keep_alive(self) -> None:
        pause_s = self._first_pause_s
        while (child := self._child) is not None:
            started = self._monotonic()
            status = child.wait()
            if self._stopping.is_set():
                return
            pause_s = self._first_pause_s if self._monotonic() - started > STEADY_S else pause_s
            log.error("worker.died", pid=child.pid, status=status, restart_in_s=pause_s)
            if self._stopping.wait(pause_s) or self._spawn() is None:
                return
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
