"""Sending HTTP requests for measurements: at a fixed rate (open loop), or one after another (closed loop).

httpx spends about a millisecond of processor time on a request, which on a machine with few cores would be measured
along. This speaks just enough HTTP/1.1 for answers with a Content-Length, over connections that stay open.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

Make = Callable[[int], bytes]
"""Makes the bytes of the request of a number."""


def request(method: str, path: str, *, key: str = "", body: Any = None, **headers: str) -> bytes:
    """Return the bytes of a request; a body is sent as JSON. Names of headers have _ for -."""
    content = b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", "Host: service", f"Content-Length: {len(content)}"]
    lines += [f"Authorization: Bearer {key}"] if key else []
    lines += ["Content-Type: application/json"] if content else []
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + content


@dataclass
class Report:
    """What was measured: milliseconds of each answer, how many were refused, and the seconds that all took."""

    took_ms: list[float] = field(default_factory=list)
    refused: int = 0
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Answers that were no refusals, in a second."""
        return len(self.took_ms) / self.seconds if self.seconds else 0.0

    def cut(self, percent: int) -> float:
        """Return the milliseconds within which so many percent of the answers came."""
        if len(self.took_ms) < 2:
            return float("nan")
        return statistics.quantiles(self.took_ms, n=100, method="inclusive")[percent - 1]


class Connection:
    """One connection that stays open."""

    def __init__(self, url: str) -> None:
        """`url`: http://host:port."""
        place = urlsplit(url)
        self._host, self._port = place.hostname, place.port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, sent: bytes) -> int:
        """Send a request, read the whole answer, and return its status."""
        if self._reader is None or self._writer is None:
            self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
        self._writer.write(sent)
        head = await self._reader.readuntil(b"\r\n\r\n")
        fields = head.lower().split(b"\r\n")
        lengths = [int(line.partition(b":")[2]) for line in fields if line.startswith(b"content-length:")]
        if lengths and lengths[0]:
            await self._reader.readexactly(lengths[0])
        return int(head[9:12])

    def close(self) -> None:
        """Close it."""
        if self._writer is not None:
            self._writer.close()


async def at_rate(urls: Iterable[str], make: Make, *, rate: float, seconds: float, connections: int = 64) -> Report:
    """Send `rate` requests a second to the services in turn; times count from when a request was due.

    A request that finds no free connection waits for one, and its time goes on.
    """
    report, free = Report(), asyncio.Queue[Connection]()
    pool = [Connection(url) for url, _ in zip(itertools.cycle(urls), range(connections), strict=False)]
    for connection in pool:
        free.put_nowait(connection)
    start = time.perf_counter() + 0.1

    async def one(number: int) -> None:
        due = start + number / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        connection = await free.get()
        status = await connection.ask(make(number))
        free.put_nowait(connection)
        _note(report, status, due)

    await asyncio.gather(*(one(number) for number in range(int(rate * seconds))))
    return _end(report, pool, start)


async def in_turn(urls: Iterable[str], make: Make, *, clients: int, seconds: float) -> Report:
    """Have `clients` each send the next request as soon as the last one is answered, for so many seconds."""
    report, numbers = Report(), itertools.count()
    pool = [Connection(url) for url, _ in zip(itertools.cycle(urls), range(clients), strict=False)]
    start = time.perf_counter()

    async def client(connection: Connection) -> None:
        while (sent := time.perf_counter()) < start + seconds:
            _note(report, await connection.ask(make(next(numbers))), sent)

    await asyncio.gather(*(client(connection) for connection in pool))
    return _end(report, pool, start)


def _note(report: Report, status: int, since: float) -> None:
    if status < 400:
        report.took_ms.append((time.perf_counter() - since) * 1000)
    else:
        report.refused += 1


def _end(report: Report, pool: list[Connection], start: float) -> Report:
    report.seconds = time.perf_counter() - start
    for connection in pool:
        connection.close()
    return report
