"""Real servers for the demo: processes of their own, on free loopback ports, each with its own data directory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from service.client import LacunaClient
from service.local_errors import ServerDidNotStart

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
LOG_END = 2000


@dataclass(frozen=True, slots=True)
class RunningService:
    """A server process that answers, and a client with its first key."""

    url: str
    key: str
    client: LacunaClient


@contextmanager
def running_service(folder: Path) -> Iterator[RunningService]:
    """Start `lacuna server` on an empty folder; stop it on leaving. Raises ServerDidNotStart."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    said, log = folder / "started.json", folder / "server.log"
    command = [sys.executable, "-m", "service.cli", "server", "--port", "0", "--json", "--data-dir"]
    command.append(str(folder / "data"))
    # Our reader's own settings are for their service, not for this one.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LACUNA_")}
    with said.open("w") as out, log.open("w") as err:
        said.chmod(0o600)  # it will hold the key
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=environment)
    try:
        started = _wait_for_start(process, said, log)
        with LacunaClient(started["url"], started["first_key"]) as client:
            yield RunningService(started["url"], started["first_key"], client)
    finally:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for_start(process: subprocess.Popen[bytes], said: Path, log: Path) -> dict[str, str]:
    until = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < until and process.poll() is None:
        text = said.read_text()
        if text.endswith("\n"):
            started: dict[str, str] = json.loads(text)
            return started
        time.sleep(0.05)
    raise ServerDidNotStart(log.read_text(errors="replace")[-LOG_END:])
