"""Retention periods of cohorts: what has been stored for longer is forgotten, by an ordinary request, without asking.

A request of the kind `retention` selects what its cohort held when the period began to end for it. Its deadline,
certificate and holds are those of every request.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, func, or_, select, text, update

from ledger import changes, events, filing, holds
from ledger.database import Database, Transaction
from ledger.errors import CoreNeverForgotten, NotFound
from ledger.tables import Change, Cohort, ForgetRequest, Record, Upload

KIND = REGULATION = "retention"
DAY_US = 86_400_000_000


@dataclass(frozen=True, slots=True)
class _Due:
    """A cohort with a period, and the day (since 1970, UTC) that it is looked at."""

    cohort_id: str
    day: int


def set_period(tx: Transaction, tenant_id: str, cohort_id: str, days: int | None) -> Cohort:
    """Give a cohort another period in days, None: no end. Raises NotFound, CoreNeverForgotten."""
    cohort = tx.session.get(Cohort, cohort_id, with_for_update=True, populate_existing=True)
    if cohort is None or cohort.tenant_id != tenant_id:
        raise NotFound("cohort", cohort_id)
    if cohort.kind != "user":
        raise CoreNeverForgotten(cohort.name)
    if cohort.retention_days != days:
        cohort.retention_days = days
        events.append(tx, tenant_id, "cohort.retention", cohort_id, days=days or 0)
    return cohort


def file_due(database: Database) -> int:
    """File a request for every cohort that holds records beyond its period; return how many were filed.

    At most one for a cohort on a day, from however many processes this is called.
    """
    with database.read() as tx:
        day = _safe_now(tx) // DAY_US
        with_period = select(Cohort.id).where(Cohort.kind == "user", Cohort.retention_days.is_not(None), _not_yet(day))
        found = [_Due(cohort_id, day) for cohort_id in tx.session.execute(with_period).scalars()]
        found = [due for due in found if _beyond(tx, tx.session.get_one(Cohort, due.cohort_id)) is not None]
    return sum(_file(database, due) for due in found)


def _file(database: Database, due: _Due) -> bool:
    with database.begin() as tx:
        taken = update(Cohort).where(Cohort.id == due.cohort_id, _not_yet(due.day)).values(retention_day=due.day)
        if tx.session.connection().execute(taken).rowcount == 0:
            return False  # another process files it
        cohort = tx.session.get_one(Cohort, due.cohort_id, populate_existing=True)
        changes.lock_sequence(tx, cohort.tenant_id)
        high_water = _beyond(tx, cohort)
        if high_water is None:  # somebody was faster, or has changed the period
            tx.session.rollback()
            return False
        stored = {"cohorts": [cohort.id]}
        request: ForgetRequest = filing.file_again(tx, cohort.tenant_id, KIND, stored, REGULATION)
        request.high_water = high_water
        return True


def _not_yet(day: int) -> ColumnElement[bool]:
    return or_(Cohort.retention_day.is_(None), Cohort.retention_day < day)


def _beyond(tx: Transaction, cohort: Cohort) -> int | None:
    """Return up to which change the cohort's records are beyond its period, None: there are none to be forgotten.

    Records that are on hold, or on their way out, are no reason for a request.
    """
    if cohort.retention_days is None:
        return None
    limit = _safe_now(tx) - cohort.retention_days * DAY_US
    old = select(func.max(Upload.stored_seq)).join(
        Change, and_(Change.tenant_id == Upload.tenant_id, Change.seq == Upload.stored_seq)
    )
    old = old.where(Upload.cohort_id == cohort.id, Upload.stored_seq.is_not(None), Change.created_at <= limit)
    high_water = tx.session.execute(old).scalar_one()
    if high_water is None:
        return None
    before = select(Upload.id).where(Upload.cohort_id == cohort.id, Upload.stored_seq <= high_water)
    left = select(Record.id).where(
        Record.cohort_id == cohort.id, Record.removed_seq.is_(None), Record.upload_id.in_(before)
    )
    on_hold = holds.subjects(tx, cohort.tenant_id)
    if on_hold is not None:
        left = left.where(or_(Record.subject_id.is_(None), Record.subject_id.not_in(on_hold)))
    return high_water if tx.session.execute(left.limit(1)).first() is not None else None


def _safe_now(tx: Transaction) -> int:
    """Return the time in UTC microseconds: the earlier of this machine's and the database server's.

    One machine whose clock runs ahead must not have everything forgotten.
    """
    if tx.session.get_bind().dialect.name != "postgresql":
        return tx.now
    server = tx.session.execute(text("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")).scalar_one()
    return min(tx.now, int(server))
