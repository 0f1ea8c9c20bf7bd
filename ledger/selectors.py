"""What a forget request selects, stored as keyed hashes, and the records that it finds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, false, or_, select, true

from ledger.database import Transaction
from ledger.errors import CoreNeverForgotten, NotFound, SelectorInvalid
from ledger.identity import RAW, AliasHasher
from ledger.tables import Cohort, ForgetRequest, Record, SubjectAlias, Upload

MOST_NAMED = 10_000


@dataclass(frozen=True, slots=True)
class SubjectName:
    """One identifier of a person, as the requester gave it: `value` may be raw or a hash of the raw form."""

    type: str
    format: str
    value: str


@dataclass(frozen=True, slots=True)
class Selector:
    """What to forget: exactly one of subjects, record ids, labels or everything, in cohorts (none: all user ones)."""

    subjects: tuple[SubjectName, ...] = ()
    record_ids: tuple[str, ...] = ()
    labels: tuple[int, ...] = ()
    everything: bool = False
    cohort_ids: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """Name the one way in which this selects. Raises SelectorInvalid when there is none, or more than one."""
        ways = {
            "subjects": self.subjects,
            "records": self.record_ids,
            "labels": self.labels,
            "everything": self.everything,
        }
        used = [way for way, value in ways.items() if value]
        if len(used) != 1:
            raise SelectorInvalid(
                f"it needs exactly one of subjects, record_ids, labels, everything, and has {len(used)}"
            )
        if max(len(self.subjects), len(self.record_ids), len(self.labels)) > MOST_NAMED:
            raise SelectorInvalid(f"it names more than {MOST_NAMED} things; send several requests")
        return used[0]


def store(tx: Transaction, tenant_id: str, selector: Selector, hasher: AliasHasher) -> dict[str, Any]:
    """Return the selector as it is stored: cohort ids, class indices and keyed hashes, no identifier.

    Raises SelectorInvalid, NotFound, CoreNeverForgotten, InvalidIdentifier.
    """
    return stored_form(cohorts_of(tx, tenant_id), selector, hasher)


def stored_form(known: Mapping[str, Cohort], selector: Selector, hasher: AliasHasher) -> dict[str, Any]:
    """Return what `store` does, for a tenant whose cohorts are `known`. Raises as that."""
    kind = selector.kind
    cohorts = _scope(known, selector.cohort_ids)
    stored: dict[str, Any] = {"cohorts": [cohort.id for cohort in cohorts]}
    if kind == "subjects":
        aliases = [hasher.lookup(s.type, s.format, s.value) for s in selector.subjects]
        stored["aliases"] = [[a.type, a.format, a.hmac.hex()] for a in aliases]
        forms = [forms_of(s, hasher) for s in selector.subjects]
        stored["forms"] = [[[kind, form, hmac.hex()] for kind, form, hmac in one] for one in forms]
    elif kind == "records":
        keys = len(cohorts) * len(selector.record_ids)  # an id has another key in every cohort
        if keys > MOST_NAMED:
            raise SelectorInvalid(
                f"{len(selector.record_ids)} record ids in {len(cohorts)} cohorts are more than {MOST_NAMED}; "
                "name the cohort, or send several requests"
            )
        stored["keys"] = [hasher.record_key(c.id, name).hex() for c in cohorts for name in selector.record_ids]
    elif kind == "labels":
        classes = max((len(cohort.class_names) for cohort in cohorts), default=0)
        wrong = [label for label in selector.labels if not 0 <= label < classes]
        if wrong:
            raise SelectorInvalid(f"label {wrong[0]} is not a class index; these cohorts have 0 to {classes - 1}")
        stored["labels"] = list(selector.labels)
    return stored


def forms_of(subject: SubjectName, hasher: AliasHasher) -> list[tuple[str, str, bytes]]:
    """Return every form that follows from what was said: four of a raw identifier, one of a hash.

    Raises InvalidIdentifier.
    """
    if subject.format == RAW:
        said = hasher.aliases(subject.type, subject.value)
    else:
        said = [hasher.lookup(subject.type, subject.format, subject.value)]
    return [(alias.type, alias.format, alias.hmac) for alias in said]


def cohorts_of(tx: Transaction, tenant_id: str) -> dict[str, Cohort]:
    """Return the tenant's cohorts by their ids, in a fixed order."""
    query = select(Cohort).where(Cohort.tenant_id == tenant_id).order_by(Cohort.id)
    return {cohort.id: cohort for cohort in tx.session.execute(query).scalars()}


def _scope(known: Mapping[str, Cohort], cohort_ids: tuple[str, ...]) -> list[Cohort]:
    if not cohort_ids:
        return [cohort for cohort in known.values() if cohort.kind == "user"]
    for cohort_id in cohort_ids:
        if cohort_id not in known:
            raise NotFound("cohort", cohort_id)
        if known[cohort_id].kind == "core":
            raise CoreNeverForgotten(known[cohort_id].name)
    return [known[cohort_id] for cohort_id in dict.fromkeys(cohort_ids)]


def matches(tx: Transaction, request: ForgetRequest) -> ColumnElement[bool]:
    """Return the condition on `records` that says which ones the request selects: stored before it was accepted."""
    return condition(tx, request.tenant_id, request.selector or {}, high_water=request.high_water)


def condition(tx: Transaction, tenant_id: str, stored: dict[str, Any], *, high_water: int) -> ColumnElement[bool]:
    """Return the condition on `records` of a selector that `store` made, for what was stored by `high_water`."""
    before = select(Upload.id).where(
        Upload.cohort_id.in_(stored["cohorts"]), Upload.stored_seq.is_not(None), Upload.stored_seq <= high_water
    )
    chosen: ColumnElement[bool]
    if "aliases" in stored:
        subject_ids = _subject_ids(tx, tenant_id, stored["aliases"])
        if not subject_ids:
            return false()  # an empty list would be looked for in every record of the cohort
        chosen = Record.subject_id.in_(subject_ids)
    elif "keys" in stored:
        keys = [bytes.fromhex(key) for key in stored["keys"]]
        chosen = or_(false(), *(Record.record_key.in_(keys[i : i + 500]) for i in range(0, len(keys), 500)))
    elif "labels" in stored:
        chosen = Record.class_index.in_(stored["labels"])
    else:
        chosen = true()
    return and_(Record.cohort_id.in_(stored["cohorts"]), Record.upload_id.in_(before), chosen)


def _subject_ids(tx: Transaction, tenant_id: str, aliases: list[list[str]]) -> list[str]:
    wanted = {(kind, form, bytes.fromhex(hmac)) for kind, form, hmac in aliases}
    found: set[str] = set()
    hmacs = [hmac for _, _, hmac in wanted]
    for start in range(0, len(hmacs), 500):
        query = select(SubjectAlias).where(
            SubjectAlias.tenant_id == tenant_id, SubjectAlias.hmac.in_(hmacs[start : start + 500])
        )
        rows = tx.session.execute(query).scalars()
        found |= {row.subject_id for row in rows if (row.type, row.format, row.hmac) in wanted}
    return sorted(found)
