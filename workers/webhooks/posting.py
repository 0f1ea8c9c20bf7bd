"""One POST to an address that a stranger may have chosen.

The name is resolved once, every address it has is checked, and the connection is made to one of these addresses, while
TLS checks the name. No redirect is followed, no proxy asked, the answer's body is not read, and the whole attempt ends
after a fixed time, however slowly the other side trickles.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ledger.errors import WebhookRefused
from ledger.webhooks.deliveries import Answer
from ledger.webhooks.targets import Rules, Target

TIMEOUT_S = 15.0
LATE = "no answer in time"
Resolve = Callable[..., list[tuple[Any, ...]]]


@dataclass(frozen=True, slots=True)
class Poster:
    """Sends. `resolve` is `socket.getaddrinfo`; `tls` checks certificates; timeout_s: of a whole attempt."""

    rules: Rules
    tls: ssl.SSLContext
    resolve: Resolve = socket.getaddrinfo
    timeout_s: float = TIMEOUT_S

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Send `body` once and return what came of it. What goes wrong is an answer too; nothing is raised."""
        late = threading.Event()
        try:
            target = self.rules.target(url)
            with self._connected(target, late) as connection:
                named = {"Host": target.netloc, "Content-Type": "application/json", "Connection": "close", **headers}
                connection.request("POST", target.path, body, named)
                with connection.getresponse() as answer:
                    if late.is_set():  # headers that are cut off in the middle look as if they ended there
                        return Answer(None, LATE)
                    return Answer(answer.status, None, _seconds(answer.headers.get("Retry-After")))
        except WebhookRefused:
            return Answer(None, "the address may not be told")
        except socket.gaierror:
            return Answer(None, "the name is not known")
        except (TimeoutError, ssl.SSLError, OSError, http.client.HTTPException, ValueError) as problem:
            return Answer(None, LATE if late.is_set() else _named(problem))

    @contextmanager
    def _connected(self, target: Target, late: threading.Event) -> Iterator[http.client.HTTPConnection]:
        family, address = self._address(target)
        with socket.socket(family, socket.SOCK_STREAM) as plain:
            plain.settimeout(self.timeout_s)
            with plain.dup() as other, _ended_after(self.timeout_s, other, late):
                plain.connect(address)
                connection = http.client.HTTPConnection(target.host, target.port)
                if target.scheme == "https":
                    with self.tls.wrap_socket(plain, server_hostname=target.host) as closed:
                        connection.sock = closed
                        yield connection
                else:
                    connection.sock = plain
                    yield connection

    def _address(self, target: Target) -> tuple[int, Any]:
        """Return an address of the host. One that may not be told rules out all others too. Raises WebhookRefused."""
        found = self.resolve(target.host, target.port, type=socket.SOCK_STREAM)
        for _, _, _, _, address in found:
            self.rules.require(str(address[0]))
        if not found:
            raise WebhookRefused("its host has no address")
        family, _, _, _, address = found[0]
        return int(family), address


@contextmanager
def _ended_after(timeout_s: float, connection: socket.socket, late: threading.Event) -> Iterator[None]:
    """Close the connection from outside when the time is over: a timeout of its own begins anew with every byte."""

    def end() -> None:
        late.set()
        try:
            connection.shutdown(socket.SHUT_RDWR)
        except OSError:  # it is not connected yet, or not any more
            return

    timer = threading.Timer(timeout_s, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _seconds(header: str | None) -> int | None:
    """Read Retry-After in seconds; as a date it is not read, and the usual pause holds."""
    text = (header or "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def _named(problem: Exception) -> str:
    """Say what failed, in words of ours: a receiver must not put its own into our database."""
    if isinstance(problem, ssl.SSLError):
        return "TLS could not be agreed on"
    if isinstance(problem, TimeoutError):
        return LATE
    if isinstance(problem, http.client.HTTPException | ValueError):
        return "the answer is not HTTP"
    return "the connection failed"
