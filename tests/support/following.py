"""A stream of events that is read beside a test."""

from __future__ import annotations

import threading

import httpx

from service.client_events import Event, Reader
from support.waiting import wait_until


class Followed:
    """A stream that is read in a thread of its own."""

    def __init__(self, client: httpx.Client, path: str, **headers: str) -> None:
        self.events: list[Event] = []
        self.lines: list[str] = []
        self.status = 0
        self.headers = httpx.Headers()
        self.ended_well = False
        self._over = threading.Event()
        self._client = client
        self._thread = threading.Thread(target=self._read, args=(path, headers), daemon=True)
        self._thread.start()
        wait_until(lambda: self.status, 30, "the stream to begin")

    def _read(self, path: str, headers: dict[str, str]) -> None:
        reader = Reader()
        try:
            with self._client.stream("GET", path, headers=headers, timeout=60) as answer:
                self.headers, self.status = answer.headers, answer.status_code
                for line in answer.iter_lines():
                    if self._over.is_set():
                        return
                    self.lines.append(line)
                    if (found := reader.line(line)) is not None:
                        self.events.append(found)
            self.ended_well = True
        except httpx.TransportError:
            return

    def leave(self) -> None:
        """Close the connection after the next line."""
        self._over.set()

    def wait_for(self, count: int) -> list[Event]:
        wait_until(lambda: len(self.events) >= count, 30, f"{count} events")
        return list(self.events)

    def wait_for_end(self) -> None:
        self._thread.join(30)
        assert not self._thread.is_alive()
