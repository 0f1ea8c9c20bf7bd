"""Deadlines: a calendar month for the GDPR, 45 days for California, always to the end of the day in UTC."""

from __future__ import annotations

import calendar
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.deadlines import due_at
from ledger.errors import UnknownTimeZone

DAY_US = 86_400_000_000


def micros(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1_000_000)


@pytest.mark.parametrize(
    ("received", "due"),
    [
        ("2026-01-31T12:00:00", "2026-02-28T23:59:59"),
        ("2028-01-31T00:00:00", "2028-02-29T23:59:59"),
        ("2028-01-30T23:59:59.999999", "2028-02-29T23:59:59"),
        ("2100-01-31T09:00:00", "2100-02-28T23:59:59"),  # no leap year
        ("2026-02-28T09:00:00", "2026-03-28T23:59:59"),
        ("2028-02-29T09:00:00", "2028-03-29T23:59:59"),
        ("2026-12-31T23:59:59.999999", "2027-01-31T23:59:59"),
        ("2026-12-01T00:00:00", "2027-01-01T23:59:59"),
        ("2026-05-31T00:00:00", "2026-06-30T23:59:59"),
    ],
)
def test_a_month_ends_on_the_same_day_or_on_the_last_one(received: str, due: str) -> None:
    assert due_at(micros(received), "gdpr") == micros(due)


@pytest.mark.parametrize(
    ("received", "due"),
    [
        ("2026-01-31T12:00:00", "2026-03-17T23:59:59"),
        ("2028-01-31T12:00:00", "2028-03-16T23:59:59"),  # a leap day in between
        ("2026-12-31T23:59:59.999999", "2027-02-14T23:59:59"),
    ],
)
def test_california_counts_days(received: str, due: str) -> None:
    assert due_at(micros(received), "ccpa") == micros(due)


MOMENTS = st.integers(micros("2000-01-01T00:00:00"), micros("2199-12-31T23:59:59"))


@given(MOMENTS)
def test_a_month_is_the_next_months_same_day_cut_to_its_length(received: int) -> None:
    start = datetime.fromtimestamp(received // 1_000_000, UTC)
    due = datetime.fromtimestamp(due_at(received, "gdpr") // 1_000_000, UTC)
    year, month = (start.year, start.month + 1) if start.month < 12 else (start.year + 1, 1)
    assert (due.year, due.month) == (year, month)
    assert due.day == min(start.day, calendar.monthrange(year, month)[1])
    assert (due.hour, due.minute, due.second) == (23, 59, 59)


@given(MOMENTS)
def test_forty_five_days_are_counted_from_the_day_of_receipt(received: int) -> None:
    start = datetime.fromtimestamp(received // 1_000_000, UTC)
    due = datetime.fromtimestamp(due_at(received, "ccpa") // 1_000_000, UTC)
    assert due.date() - start.date() == timedelta(days=45)
    assert (due.hour, due.minute, due.second) == (23, 59, 59)


@given(MOMENTS, st.integers(0, 40 * DAY_US), st.sampled_from(["gdpr", "ccpa"]))
def test_who_asks_later_is_never_due_earlier(received: int, later: int, regulation: str) -> None:
    assert due_at(received, regulation) <= due_at(received + later, regulation)
    assert due_at(received, regulation) % 1_000_000 == 0


def at(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1_000_000)


@pytest.mark.parametrize(
    ("received", "zone", "due"),
    [
        ("2026-01-31T12:00:00+01:00", "Europe/Berlin", "2026-02-28T23:59:59+01:00"),
        ("2026-01-31T23:30:00+00:00", "Europe/Berlin", "2026-03-01T23:59:59+01:00"),  # February began there
        ("2026-03-10T12:00:00+01:00", "Europe/Berlin", "2026-04-10T23:59:59+02:00"),  # clocks go forward between
        ("2026-02-01T01:00:00+00:00", "America/Los_Angeles", "2026-02-28T23:59:59-08:00"),  # still January there
        ("2026-01-30T11:00:00+00:00", "Pacific/Kiritimati", "2026-02-28T23:59:59+14:00"),  # the 31st there
        ("2024-09-26T12:00:00-03:00", "America/Asuncion", "2024-10-26T23:59:59-03:00"),
    ],
)
def test_days_are_those_of_the_time_zone(received: str, zone: str, due: str) -> None:
    assert due_at(at(received), "gdpr", zone) == at(due)


def test_a_day_that_ends_twice_ends_the_second_time() -> None:
    # In Havana the clocks go back from 1:00 to 0:00; in Azores of old from 0:00 to 23:00 of the day before.
    received, zone = at("2026-09-24T12:00:00+00:00"), "Atlantic/Azores"
    assert due_at(received, "gdpr", zone) == at("2026-10-24T23:59:59+00:00")
    twice = at("2018-02-03T12:00:00-02:00")  # 15 days before clocks went back at midnight in Brazil
    assert due_at(twice - 30 * DAY_US, "ccpa", "America/Sao_Paulo") == at("2018-02-18T23:59:59-03:00")
    assert due_at(at("2018-01-17T12:00:00-02:00"), "gdpr", "America/Sao_Paulo") == at("2018-02-17T23:59:59-03:00")


@pytest.mark.parametrize(
    ("regulation", "due"), [("gdpr", "2026-04-30T23:59:59+00:00"), ("ccpa", "2026-05-01T23:59:59+00:00")]
)
def test_an_extension_counts_from_receipt(regulation: str, due: str) -> None:
    assert due_at(at("2026-01-31T12:00:00+00:00"), regulation, extended=True) == at(due)


@pytest.mark.parametrize("name", ["Nowhere/Town", "../../etc/passwd", "/etc/passwd", "Europe", "a\0b", "\ud800"])
def test_a_time_zone_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(UnknownTimeZone):
        due_at(0, "gdpr", name)
