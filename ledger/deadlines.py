"""When an answer is due by law."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from dateutil.relativedelta import relativedelta

from ledger.errors import UnknownTimeZone

DAYS = {"ccpa": (45, 90), "retention": (7, 14)}
"""Calendar days, and with an extension. For retention periods no law says any: these are ours."""
UTC_NAME = "UTC"


def due_at(received_at: int, regulation: str, time_zone: str | None = None, *, extended: bool = False) -> int:
    """Return the deadline in UTC microseconds for a request received at `received_at`.

    GDPR, Art. 12(3): one calendar month, extended by two more; to the end of the day (31 January -> last day of
    February). CCPA regulations, section 7021: 45 calendar days, extended to 90. Days are those of the time zone.
    Raises UnknownTimeZone.
    """
    zone = require_zone(time_zone or UTC_NAME)
    received = datetime.fromtimestamp(received_at // 1_000_000, zone).date()
    if regulation == "gdpr":
        last_day = received + relativedelta(months=3 if extended else 1)
    else:
        usual, longest = DAYS[regulation]
        last_day = received + timedelta(days=longest if extended else usual)
    # fold: if clocks are put back at midnight, the day ends the second time.
    end = datetime.combine(last_day, time(23, 59, 59, fold=1), zone)
    return int(end.timestamp()) * 1_000_000


def require_zone(name: str) -> ZoneInfo:
    """Return a time zone of the IANA database by its name, as Europe/Berlin. Raises UnknownTimeZone."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as problem:  # no such file, a path, a folder
        raise UnknownTimeZone from problem
