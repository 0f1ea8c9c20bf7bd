"""People who asked to be forgotten, known or not, and must not come back with an upload unasked.

One row per form of an identifier. The forms of one person share a random number, so that withdrawing by one of them
withdraws all that are known to belong together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import func, select

from ledger import changes, events
from ledger.database import Transaction
from ledger.tables import ForgetRequest, SubjectAlias, Suppression

Form = tuple[str, str, bytes]  # type, format, HMAC
HasForm = TypeVar("HasForm", SubjectAlias, Suppression)
Value = TypeVar("Value")
AT_ONCE = 500
"""Values in one query: databases bound how many they take."""


@dataclass(frozen=True, slots=True)
class Counts:
    """How many people are suppressed now, and how many of whom it was withdrawn."""

    active: int
    withdrawn: int


def remember(tx: Transaction, request: ForgetRequest) -> None:
    """Suppress everybody whom a request by subjects names, in every form that is known of them.

    What is stored is read some hundreds of names at a time: a request may name thousands, and uploads wait for it.
    """
    selector = request.selector or {}
    named = [
        [(kind, form, bytes.fromhex(hmac)) for kind, form, hmac in forms]
        for forms in selector.get("forms", [[alias] for alias in selector["aliases"]])  # without forms before 0004
    ]
    stored = _stored_forms(tx, request.tenant_id, {form for forms in named for form in forms})
    people = [{*forms, *next((stored[form] for form in forms if form in stored), ())} for forms in named]
    known = _Known(_rows(tx, request.tenant_id, {form for forms in people for form in forms}))
    for forms in people:
        _suppress(tx, request, forms, known)
    tx.session.flush()


def withdraw(tx: Transaction, tenant_id: str, people: Iterable[Sequence[Form]]) -> int:
    """Let these people be uploaded again. Each is given by the forms that are known; returns how many it changed."""
    changes.lock_sequence(tx, tenant_id)  # else a request that is being resolved could suppress them in between
    withdrawn = 0
    for forms in people:
        active = [row for row in _rows(tx, tenant_id, set(forms)) if row.withdrawn_at is None]
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


def _stored_forms(tx: Transaction, tenant_id: str, forms: Iterable[Form]) -> dict[Form, list[Form]]:
    """Return, for each of these forms that somebody has, every form of that subject."""
    mine = list(_by_form(tx, SubjectAlias, tenant_id, forms))
    subjects: dict[str, list[Form]] = {row.subject_id: [] for row in mine}
    for some in _batches(sorted(subjects)):
        query = select(SubjectAlias).where(SubjectAlias.tenant_id == tenant_id, SubjectAlias.subject_id.in_(some))
        for row in tx.session.execute(query).scalars():
            subjects[row.subject_id].append(_form(row))
    return {_form(row): subjects[row.subject_id] for row in mine}


class _Known:
    """The rows that may have to do with a request, by form and by person, while it adds to them."""

    def __init__(self, rows: Iterable[Suppression]) -> None:
        self._by_form: dict[Form, Suppression] = {}
        self._by_person: dict[str, list[Suppression]] = {}
        for row in rows:
            self.add(row)

    def add(self, row: Suppression) -> None:
        self._by_form[_form(row)] = row
        if row.person is not None:
            self._by_person.setdefault(row.person, []).append(row)

    def of(self, forms: Iterable[Form]) -> tuple[list[Suppression], set[str]]:
        """Return the rows of these forms and of all others that belong to the same people, and the people."""
        found = [self._by_form[form] for form in forms if form in self._by_form]
        persons = {row.person for row in found if row.person is not None}
        together = [row for person in sorted(persons) for row in self._by_person[person]]
        return [*(row for row in found if row.person is None), *together], persons

    def join(self, person: str, persons: Iterable[str], rows: Iterable[Suppression]) -> None:
        """Note that these rows are one person's, whoever's they were."""
        for other in persons:
            del self._by_person[other]
        self._by_person[person] = list(rows)


def _suppress(tx: Transaction, request: ForgetRequest, forms: set[Form], known: _Known) -> None:
    rows, persons = known.of(forms)  # several persons: two that turn out to be one
    person = min(persons, default=None) or tx.new_id()
    for row in rows:
        row.person, row.request_id, row.created_at, row.withdrawn_at = person, request.id, tx.now, None
    known.join(person, persons, rows)
    for kind, form, hmac in sorted(forms - {_form(row) for row in rows}):
        row = Suppression(
            tenant_id=request.tenant_id,
            type=kind,
            format=form,
            hmac=hmac,
            person=person,
            request_id=request.id,
            created_at=tx.now,
        )
        tx.session.add(row)
        known.add(row)


def _rows(tx: Transaction, tenant_id: str, forms: Iterable[Form]) -> list[Suppression]:
    """Return the rows of these forms, and of all others that belong to the same people."""
    found = list(_by_form(tx, Suppression, tenant_id, forms))
    persons = {row.person for row in found if row.person is not None}
    together: list[Suppression] = []
    for some in _batches(sorted(persons)):
        query = select(Suppression).where(Suppression.tenant_id == tenant_id, Suppression.person.in_(some))
        together += tx.session.execute(query).scalars()
    return [*(row for row in found if row.person is None), *together]


def _by_form(tx: Transaction, table: type[HasForm], tenant_id: str, forms: Iterable[Form]) -> Iterator[HasForm]:
    """Give the rows of these forms, found by their primary keys."""
    kinds: dict[tuple[str, str], list[bytes]] = {}
    for kind, form, hmac in sorted(forms):
        kinds.setdefault((kind, form), []).append(hmac)
    for (kind, form), hmacs in kinds.items():
        mine = select(table).where(table.tenant_id == tenant_id, table.type == kind, table.format == form)
        for some in _batches(hmacs):
            yield from tx.session.execute(mine.where(table.hmac.in_(some))).scalars()


def _batches(values: Sequence[Value]) -> Iterator[Sequence[Value]]:
    return (values[start : start + AT_ONCE] for start in range(0, len(values), AT_ONCE))


def _form(row: SubjectAlias | Suppression) -> Form:
    return row.type, row.format, row.hmac
