"""When an answer is due by law."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from dateutil.relativedelta import relativedelta

REGULATIONS = ("gdpr", "ccpa")


def due_at(received_at: int, regulation: str) -> int:
    """Return the deadline in UTC microseconds for a request received at `received_at`.

    GDPR, Art. 12(3): one calendar month, to the end of the day (31 January -> last day of February).
    CCPA regulations, section 7021: 45 calendar days.
    """
    received = datetime.fromtimestamp(received_at / 1_000_000, UTC)
    last_day = received + (relativedelta(months=1) if regulation == "gdpr" else timedelta(days=45))
    end = last_day.replace(hour=23, minute=59, second=59, microsecond=0)
    return int(end.timestamp()) * 1_000_000
