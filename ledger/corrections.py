"""Corrections: records that replace stored ones of the same subject and id.

The new records are stored and their features made like those of any upload. In the transaction in which they are added
the old ones are removed, under the same sequence number. So no model version ever holds both, or neither.
The removal is a forget request of the kind `correction`, which exists from the moment the correction is accepted: it
has a deadline, and it ends with a purge and a certificate.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, and_, false, or_, select

from ledger import deferrals, filing, holders, holds, replacing, requests, selectors
from ledger.database import Transaction
from ledger.errors import RecordsUnknown, SubjectHeld
from ledger.identity import Alias, AliasHasher
from ledger.tables import ForgetRequest, Record, SubjectAlias, Upload

REGULATION = "gdpr"  # Art. 16 and 12(3): one month, the shortest time that any of our regulations gives
AT_ONCE = 500

Named = tuple[int, str | None, str | None]  # row, id, subject
Place = tuple[bytes, str | None]  # record key, subject id


def refuse_rows(
    tx: Transaction, hasher: AliasHasher, upload: Upload, rows: Sequence[Named], aliases: dict[str, list[Alias]]
) -> None:
    """Refuse rows that replace nothing, or records on hold. `aliases`: the forms of each row's subject.

    Raises RecordsUnknown, SubjectHeld.
    """
    subjects = _subjects(tx, upload.tenant_id, aliases)
    keys = {row: hasher.record_key(upload.cohort_id, name) for row, name, _ in rows if name is not None}
    named = list(set(keys.values()))
    leaving = _leaving(tx, upload)
    on_hold = holds.subjects(tx, upload.tenant_id)
    there: set[Place] = set()
    held: set[Place] = set()
    for start in range(0, len(named), AT_ONCE):
        live = and_(replacing.live(upload), Record.record_key.in_(named[start : start + AT_ONCE]))
        there |= _places(tx, live) - _places(tx, and_(live, leaving))
        if on_hold is not None:
            held |= _places(tx, and_(live, Record.subject_id.in_(on_hold)))
    places = {row: (keys.get(row, b""), None if who is None else subjects.get(who, "")) for row, _, who in rows}
    unknown = [row for row, where in places.items() if where not in there]
    if unknown:
        raise RecordsUnknown(unknown)
    kept = [row for row, where in places.items() if where in held]
    if kept:
        raise SubjectHeld(kept)


def accept(tx: Transaction, upload: Upload) -> ForgetRequest:
    """Accept a correction whose records are all stored, and file the request that will remove the old ones.

    The caller holds the lock on the tenant's counter. Raises RecordsUnknown, SubjectHeld: something changed since the
    rows were looked at.
    """
    leaving = replacing.count_replacing(tx, upload, _leaving(tx, upload))
    unknown = upload.records - replacing.count_replacing(tx, upload) + leaving
    if unknown:
        raise RecordsUnknown([], count=unknown)
    on_hold = holds.subjects(tx, upload.tenant_id)
    if on_hold is not None and (kept := replacing.count_replacing(tx, upload, Record.subject_id.in_(on_hold))):
        raise SubjectHeld([], count=kept)
    stored = {"cohorts": [upload.cohort_id]}
    request = filing.new_row(tx, upload.tenant_id, requests.CORRECTION, stored, REGULATION)
    upload.request_id = request.id
    return request


def apply(tx: Transaction, upload: Upload) -> None:
    """Remove what an upload that has just been added replaces: every record stored before it under the same name.

    The caller holds the lock on the tenant's counter. What was forgotten meanwhile needs no removal.
    """
    request = tx.session.get_one(ForgetRequest, upload.request_id, with_for_update=True, populate_existing=True)
    request.seq = upload.added_seq
    request.records = removed = requests.remove(tx, request, replacing.replaced(upload))
    request.error = None
    if removed:
        holders.note(tx, request, holders.removed_by(request))
        requests.scrub(tx, request, [upload.cohort_id])
        deferrals.follow(tx, upload.tenant_id)
    else:
        requests.complete_at_once(tx, request, "no_match")


def _subjects(tx: Transaction, tenant_id: str, aliases: dict[str, list[Alias]]) -> dict[str, str]:
    """Map those subjects to their ids of whom there are records. Two spellings of one subject have the same id."""
    raw = {who: next(form.hmac for form in forms if form.format == "raw") for who, forms in aliases.items()}
    known: dict[bytes, str] = {}
    hmacs = list(set(raw.values()))
    for start in range(0, len(hmacs), AT_ONCE):
        query = select(SubjectAlias.hmac, SubjectAlias.subject_id).where(
            SubjectAlias.tenant_id == tenant_id, SubjectAlias.hmac.in_(hmacs[start : start + AT_ONCE])
        )
        known |= {row.hmac: row.subject_id for row in tx.session.execute(query)}
    return {who: known[hmac] for who, hmac in raw.items() if hmac in known}


def _places(tx: Transaction, condition: ColumnElement[bool]) -> set[Place]:
    rows = tx.session.execute(select(Record.record_key, Record.subject_id).where(condition))
    return {(row[0], row[1]) for row in rows}


def _leaving(tx: Transaction, upload: Upload) -> ColumnElement[bool]:
    """Return the condition on records that an accepted request is going to forget."""
    accepted = requests.accepted_over(tx, upload.tenant_id, upload.cohort_id)
    return or_(false(), *(selectors.matches(tx, request) for request in accepted))
