"""Keep the tests on this machine: no socket of this process reaches past the loopback interface."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Collection
from typing import Any

import pytest

GUARDED = ("connect", "connect_ex", "sendto")


class LeftTheMachine(BaseException):
    """A test tried to reach another machine.

    Not an `Exception`: code under test that survives every failed connection must not survive this one.
    """


def is_loopback(host: str) -> bool:
    """Whether `host` (a name or an address) is this machine by the loopback interface."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


def forbid_other_machines(patch: pytest.MonkeyPatch, allowed_hosts: Collection[str] = ()) -> None:
    """From now on, connecting or sending past the loopback interface raises LeftTheMachine, until `patch` is undone.

    Unix sockets and `allowed_hosts` stay open. Sockets of C libraries (libpq) and of child processes are not seen.
    """

    def check(host: object) -> None:
        name = host.decode() if isinstance(host, bytes) else str(host)
        if not is_loopback(name) and name not in allowed_hosts:
            raise LeftTheMachine(f"a test tried to reach {name!r}; tests talk only to 127.0.0.1, ::1 and localhost")

    def guarded(method: Callable[..., Any]) -> Callable[..., Any]:
        def checked(self: socket.socket, *arguments: Any) -> Any:
            if self.family in (socket.AF_INET, socket.AF_INET6):
                check(arguments[-1][0])  # the address comes last, also in sendto(data, flags, address)
            return method(self, *arguments)

        return checked

    for name in GUARDED:
        patch.setattr(socket.socket, name, guarded(getattr(socket.socket, name)))

    look_up = socket.getaddrinfo

    def checked_look_up(host: Any, *arguments: Any, **keywords: Any) -> Any:
        if host not in (None, "", b"", "0.0.0.0", "::"):  # those mean "bind to every interface"
            check(host)
        return look_up(host, *arguments, **keywords)

    patch.setattr(socket, "getaddrinfo", checked_look_up)
