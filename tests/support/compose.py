"""The compose file's services run as processes of this machine: the same commands, the same variables.

A container's places become places of a test: `/run/secrets` and `/data` are folders, the neighbours' names addresses.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from support.source_files import CHECKOUT

COMPOSE = CHECKOUT / "docker-compose.yml"
ENTRYPOINT = (sys.executable, "-m", "service.cli")  # the image's ENTRYPOINT is `lacuna`


def services() -> dict[str, Any]:
    """Return the services of the compose file."""
    found: dict[str, Any] = YAML(typ="safe").load(COMPOSE)["services"]
    return found


@dataclass
class Composed:
    """An installation in `folder`. `secrets` are the files below /run/secrets, `instead` variables that stand for names
    of neighbours, ports and times.
    """

    folder: Path
    secrets: dict[str, str]
    instead: dict[str, str]
    path: str = os.defpath
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Write the secrets, and make the volumes."""
        (self.folder / "secrets").mkdir(mode=0o700)
        (self.folder / "data").mkdir()
        (self.folder / "tmp").mkdir()
        for name, secret in self.secrets.items():
            (self.folder / "secrets" / name).write_text(secret)

    def command(self, name: str) -> list[str]:
        """Return what the service's container would run."""
        service = services()[name]
        run = [*service.get("entrypoint", ()), *service["command"]]
        if "entrypoint" not in service and service["image"] == "lacuna":
            run = [*ENTRYPOINT, *run]
        if run[0] == "python3":
            run[0] = sys.executable
        return [self._here(part) for part in run]

    def environment(self, name: str) -> dict[str, str]:
        """Return the container's variables; a default of the compose file is used where the test says nothing else."""
        service = services()[name]
        given = {key: self._here(_default(str(value))) for key, value in service["environment"].items()}
        own = {key: value for key, value in self.instead.items() if key.startswith("PG") == ("PGHOST" in given)}
        return {"PATH": self.path, "PYTHONPATH": str(CHECKOUT), "LC_ALL": "C.UTF-8"} | given | own

    def start(self, name: str) -> subprocess.Popen[bytes]:
        """Start a service."""
        with (self.folder / f"{name}.out").open("wb") as out, (self.folder / f"{name}.err").open("wb") as err:
            process = subprocess.Popen(
                self.command(name), stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=self.environment(name)
            )
        self.processes[name] = process
        return process

    def finish(self, name: str, timeout_s: float) -> None:
        """Run a service that does one thing and ends."""
        assert self.start(name).wait(timeout_s) == 0, self.said(name)

    def said(self, name: str) -> str:
        """Return what a service has written."""
        return "".join((self.folder / f"{name}{end}").read_text() for end in (".out", ".err"))

    def stop(self) -> None:
        """End every process, the workers' children too: SIGTERM, and SIGKILL for those that do not listen."""
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _here(self, text: str) -> str:
        places = {"/run/secrets": "secrets", "/tmp/alive": "tmp/alive", "/data": "data"}
        for place, here in places.items():
            text = re.sub(rf"(?<![\w/]){re.escape(place)}\b", str(self.folder / here), text)
        return text.replace("file:///data", f"file://{self.folder / 'data'}").replace("$$", "$")


def _default(value: str) -> str:
    """Return what compose writes for `${NAME:-default}` where NAME is not set."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)
