"""Start a server that surely ends with the tests."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.waiting import wait_until

GUARDIAN = Path(__file__).with_name("guardian.py")
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
# No PG*, LD_* or proxy variable of the developer's reaches a test server.
CLEAN_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}


class ServerStartError(Exception):
    """A test server ended while starting. What it printed is in the message."""


@dataclass(frozen=True)
class GuardedServer:
    """A server and the guardian process that stops it; the guardian's standard input is our life-line."""

    guardian: subprocess.Popen[bytes]
    folder: Path

    def stop(self) -> None:
        """Stop the server and wait until its folder is gone. A second call does nothing."""
        if self.guardian.poll() is None:
            self.guardian.send_signal(signal.SIGTERM)  # not only closing the pipe: a forked child may hold a copy
        if self.guardian.stdin is not None:
            self.guardian.stdin.close()
        self.guardian.wait(STOP_TIMEOUT_S)
        shutil.rmtree(self.folder, ignore_errors=True)

    def forget(self) -> None:
        """Let go of a server that has ended by itself. Its folder stays, for whoever starts another one there."""
        self.guardian.wait(STOP_TIMEOUT_S)
        if self.guardian.stdin is not None:
            self.guardian.stdin.close()


def server_account() -> pwd.struct_passwd | None:
    """Whom a server that refuses root runs as: `nobody` when we are root, otherwise None, which means ourselves."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None


def run_as(account: pwd.struct_passwd | None) -> dict[str, Any]:
    """Keyword arguments of `subprocess` that start a program as `account` and with none of our own groups."""
    return {} if account is None else {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def give_to(path: Path, account: pwd.struct_passwd | None) -> None:
    """Make `account` the owner of `path`."""
    if account is not None:
        os.chown(path, account.pw_uid, account.pw_gid)


def server_folder(prefix: str, account: pwd.struct_passwd | None) -> Path:
    """Make a new folder that belongs to `account`, below a temporary directory which that account can enter."""
    if account is None:
        return Path(tempfile.mkdtemp(prefix=prefix))
    parents = (Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp"))
    reachable = [parent for parent in parents if others_can_enter(parent)]
    if not reachable:
        raise ServerStartError(f"{account.pw_name} can enter no temporary directory; set TMPDIR to one with mode 1777")
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=reachable[0]))
    give_to(folder, account)
    return folder


def others_can_enter(directory: Path) -> bool:
    """Whether every directory from the root down to this one lets a stranger through."""
    real = directory.resolve()
    return all(step.is_dir() and step.stat().st_mode & 0o001 for step in (real, *real.parents))


def start_guarded(
    argv: Sequence[str],
    folder: Path,
    *,
    account: pwd.struct_passwd | None,
    ready: Callable[[], bool],
    stop_signal: signal.Signals = signal.SIGTERM,
    keep_folder: bool = False,
) -> GuardedServer:
    """Start `argv` in `folder` under a guardian and return once `ready()` is true.

    The folder is removed when the server stops, also when it failed to start, unless `keep_folder`.
    Raises ServerStartError: it ended before it was ready. Raises TimeoutError: it was not ready in START_TIMEOUT_S.
    """
    log = folder / "server.log"
    spec = {
        "argv": list(argv),
        "folder": str(folder),
        "log": str(log),
        "environment": CLEAN_ENVIRONMENT,
        "stop_signal": int(stop_signal),
        "identity": run_as(account),
    }
    guardian = subprocess.Popen(
        [sys.executable, "-I", "-S", str(GUARDIAN), json.dumps(spec)],
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
    server = GuardedServer(guardian, folder)

    def ready_or_ended() -> bool:
        if guardian.poll() is not None:
            raise ServerStartError(f"{argv[0]} ended with status {guardian.returncode}:\n{tail(log)}")
        return ready()

    try:
        wait_until(ready_or_ended, START_TIMEOUT_S, f"{Path(argv[0]).name} to be ready")
    except BaseException as problem:  # Ctrl-C too must not leave a server behind
        if keep_folder and isinstance(problem, ServerStartError):
            server.forget()
        else:
            server.stop()
        raise
    return server


def tail(log: Path, characters: int = 4000) -> str:
    """The end of a log file, or a note that there is none."""
    with contextlib.suppress(FileNotFoundError):
        return log.read_text(errors="replace")[-characters:]
    return "(it wrote no log)"
