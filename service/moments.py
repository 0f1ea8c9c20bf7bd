"""Times as they are shown: RFC 3339, in UTC."""

from __future__ import annotations

from ledger import moments


def rfc3339(micros: int | None) -> str | None:
    """Return a time in UTC microseconds as `2026-11-01T12:00:00.000000Z`, None for none."""
    return None if micros is None else moments.rfc3339(micros)


def when(micros: int) -> str:
    """Return a time that is always there, as `rfc3339` does."""
    return moments.rfc3339(micros)
