"""People who asked to be forgotten, known or not, and must not come back with an upload unasked.

One row per form of an identifier. The forms of one person share a random number, so that withdrawing by one of them
withdraws all that are known to belong together.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import func, select, update

from ledger import changes, events
from ledger.database import Transaction
from ledger.tables import ForgetRequest, SubjectAlias, Suppression

Form = tuple[str, str, bytes]  # type, format, HMAC


@dataclass(frozen=True, slots=True)
class Counts:
    """How many people are suppressed now, and how many of whom it was withdrawn."""

    active: int
    withdrawn: int


def remember(tx: Transaction, request: ForgetRequest) -> None:
    """Suppress everybody whom a request by subjects names, in every form that is known of them."""
    selector = request.selector or {}
    for named in selector.get("forms", [[alias] for alias in selector["aliases"]]):  # without forms before 0004
        forms = [(kind, form, bytes.fromhex(hmac)) for kind, form, hmac in named]
        _suppress(tx, request, {*forms, *_stored_forms(tx, request.tenant_id, forms)})


def withdraw(tx: Transaction, tenant_id: str, people: Iterable[Sequence[Form]]) -> int:
    """Let these people be uploaded again. Each is given by the forms that are known; returns how many it changed."""
    changes.lock_sequence(tx, tenant_id)  # else a request that is being resolved could suppress them in between
    withdrawn = 0
    for forms in people:
        active = [row for row in _rows(tx, tenant_id, forms) if row.withdrawn_at is None]
        for row in active:
            row.withdrawn_at = tx.now
        withdrawn += bool(active)
    tx.session.flush()
    if withdrawn:
        events.append(tx, tenant_id, "suppressions.withdrawn", tenant_id, subjects=withdrawn)
    return withdrawn


def count(tx: Transaction, tenant_id: str) -> Counts:
    """Count people, not forms. A row without a number, from before migration 0004, counts for itself."""

    def people(withdrawn: bool) -> int:
        mine = select(func.count(Suppression.person.distinct()), func.count() - func.count(Suppression.person)).where(
            Suppression.tenant_id == tenant_id, Suppression.withdrawn_at.is_not(None) == withdrawn
        )
        numbered, alone = tx.session.execute(mine).one()
        return int(numbered + alone)

    return Counts(active=people(False), withdrawn=people(True))


def _stored_forms(tx: Transaction, tenant_id: str, forms: Iterable[Form]) -> list[Form]:
    """Return every form of the subject that one of these forms belongs to; nothing when nobody has it."""
    for form in forms:
        known = tx.session.get(SubjectAlias, (tenant_id, *form))
        if known is not None:
            rows = tx.session.execute(select(SubjectAlias).where(SubjectAlias.subject_id == known.subject_id)).scalars()
            return [(row.type, row.format, row.hmac) for row in rows]
    return []


def _suppress(tx: Transaction, request: ForgetRequest, forms: set[Form]) -> None:
    known = _rows(tx, request.tenant_id, forms)
    persons = {row.person for row in known if row.person is not None}
    person = min(persons, default=None) or tx.new_id()
    if persons - {person}:  # two that turn out to be one
        mine = Suppression.tenant_id == request.tenant_id
        tx.session.execute(update(Suppression).where(mine, Suppression.person.in_(persons)).values(person=person))
    for row in known:
        row.person, row.request_id, row.created_at, row.withdrawn_at = person, request.id, tx.now, None
    tx.session.add_all(
        Suppression(
            tenant_id=request.tenant_id,
            type=kind,
            format=form,
            hmac=hmac,
            person=person,
            request_id=request.id,
            created_at=tx.now,
        )
        for kind, form, hmac in sorted(forms - {(row.type, row.format, row.hmac) for row in known})
    )
    tx.session.flush()


def _rows(tx: Transaction, tenant_id: str, forms: Iterable[Form]) -> list[Suppression]:
    """Return the rows of these forms, and of all others that belong to the same people."""
    found = [row for form in forms if (row := tx.session.get(Suppression, (tenant_id, *form))) is not None]
    persons = {row.person for row in found if row.person is not None}
    if not persons:
        return found
    query = select(Suppression).where(Suppression.tenant_id == tenant_id, Suppression.person.in_(persons))
    return [*(row for row in found if row.person is None), *tx.session.execute(query).scalars()]
