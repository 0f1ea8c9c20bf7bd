"""The client's way of following events: reading the stream, and going on where it was interrupted."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx

from service.client_errors import ApiProblem, ServiceUnreachable

ENDINGS = ("request.completed", "request.cancelled")
PAUSE_S, TRIES = 1.0, 30
SILENCE_S = 60.0
"""After so many seconds without a byte the connection counts as lost: the service sends one at least every 15."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened. data: ids, states and times, as in webhooks. id: where to go on."""

    id: str
    type: str
    timestamp: str
    data: dict[str, Any]


@dataclass(slots=True)
class Reader:
    """Puts events together from the lines of a stream (WHATWG HTML, section 9.2.6)."""

    _fields: dict[str, str] = field(default_factory=dict)

    def line(self, text: str) -> Event | None:
        """Read one line, without its end; return the event that it completes, if it does."""
        if text.startswith(":"):
            return None
        if text:
            name, _, value = text.partition(":")
            self._fields[name] = value.removeprefix(" ")
            return None
        said, self._fields = self._fields, {}
        if "data" not in said:
            return None
        body = json.loads(said["data"])
        return Event(said.get("id", ""), said.get("event", body["type"]), body["timestamp"], body["data"])


@dataclass(slots=True)
class Following:
    """Where to follow, and how far it has got. `path` is of one request, or of everything."""

    path: str
    last_event_id: str | None = None
    failures: int = 0

    @classmethod
    def of(cls, request: str | None, after: str | None) -> Following:
        """Follow one forget request, or (None) everything, from behind the event of this id."""
        return cls("/v1/events" if request is None else f"/v1/forget-requests/{request}/events", after)

    @property
    def headers(self) -> dict[str, str]:
        """What a request for the stream says."""
        said = {"Accept": "text/event-stream"}
        return said if self.last_event_id is None else {**said, "Last-Event-ID": self.last_event_id}

    def saw(self, event: Event) -> bool:
        """Note an event. Returns whether it is the last one of what is followed."""
        self.last_event_id, self.failures = event.id, 0
        return self.path != "/v1/events" and event.type in ENDINGS

    def lost(self, base_url: str, problem: httpx.HTTPError) -> None:
        """Note that the connection was lost. Raises ServiceUnreachable after many attempts in a row."""
        self.failures += 1
        if self.failures >= TRIES:
            raise ServiceUnreachable(base_url, str(problem) or type(problem).__name__) from problem


TIMEOUT = httpx.Timeout(30.0, read=SILENCE_S)


def follow(
    http: httpx.Client, base_url: str, following: Following, *, pause: Callable[[float], None] = time.sleep
) -> Iterator[Event]:
    """Give events as they happen; after an interruption go on behind the last one.

    Raises ApiProblem: the service refuses. Raises ServiceUnreachable: it is not back after half a minute.
    """
    while True:
        try:
            with http.stream("GET", following.path, headers=following.headers, timeout=TIMEOUT) as answer:
                if answer.status_code == httpx.codes.NO_CONTENT:
                    return
                if not answer.is_success:
                    answer.read()
                    raise ApiProblem.of(answer)
                reader = Reader()
                for line in answer.iter_lines():
                    if (event := reader.line(line)) is not None:
                        yield event
                        if following.saw(event):
                            return
        except httpx.TransportError as problem:
            following.lost(base_url, problem)
        pause(PAUSE_S)


async def follow_async(
    http: httpx.AsyncClient, base_url: str, following: Following, *, pause: Callable[[float], Any]
) -> AsyncIterator[Event]:
    """As `follow`; `pause` is `asyncio.sleep`."""
    while True:
        try:
            async with http.stream("GET", following.path, headers=following.headers, timeout=TIMEOUT) as answer:
                if answer.status_code == httpx.codes.NO_CONTENT:
                    return
                if not answer.is_success:
                    await answer.aread()
                    raise ApiProblem.of(answer)
                reader = Reader()
                async for line in answer.aiter_lines():
                    if (event := reader.line(line)) is not None:
                        yield event
                        if following.saw(event):
                            return
        except httpx.TransportError as problem:
            following.lost(base_url, problem)
        await pause(PAUSE_S)
