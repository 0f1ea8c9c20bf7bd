"""A TCP relay in front of a server, so that a test can take the server away from its clients, or make it silent."""

from __future__ import annotations

import contextlib
import socket
import threading


class Proxy:
    """Relays connections from `port` to a port of this machine until `take_away`, and again after `give_back`."""

    def __init__(self, target: int) -> None:
        """Start at a free port."""
        self._target = target
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener: socket.socket | None = None
        self._speaks = threading.Event()
        self._speaks.set()
        self.accepted = 0
        self.port = 0
        self.give_back()

    def take_away(self) -> None:
        """Refuse connections, and cut those that there are."""
        with self._lock:
            listener, self._listener = self._listener, None
            sockets, self._open = self._open, set()
        for one in (*([listener] if listener else []), *sockets):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def give_back(self) -> None:
        """Accept connections at the same port as before."""
        listener = socket.create_server(("127.0.0.1", self.port))
        self.port = listener.getsockname()[1]
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def fall_silent(self) -> None:
        """Keep connections and accept new ones, but pass nothing on, as if the server hung, until `speak`."""
        self._speaks.clear()

    def speak(self) -> None:
        """Pass on what has come meanwhile, and everything from now on."""
        self._speaks.set()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._target))
            with self._lock:
                if self._listener is not listener:
                    client.close()
                    server.close()
                    return
                self._open |= {client, server}
                self.accepted += 1
            for one, other in ((client, server), (server, client)):
                threading.Thread(target=self._relay, args=(one, other), daemon=True).start()

    def _relay(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                self._speaks.wait()
                other.sendall(data)
        for end in (one, other):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        with self._lock:
            self._open -= {one, other}
