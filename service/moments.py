"""Times as they are shown: RFC 3339, in UTC."""

from __future__ import annotations

from datetime import UTC, datetime


def rfc3339(micros: int | None) -> str | None:
    """Return a time in UTC microseconds as `2026-11-01T12:00:00.000000Z`."""
    if micros is None:
        return None
    moment = datetime.fromtimestamp(micros // 1_000_000, UTC).replace(microsecond=micros % 1_000_000)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def when(micros: int) -> str:
    """Return a time that is always there, as `rfc3339` does."""
    return rfc3339(micros) or ""
