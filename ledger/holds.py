"""Legal duties to keep a subject's records for a while: forgetting skips them until the hold is released."""

from __future__ import annotations

import re
from collections.abc import Sequence

from sqlalchemy import ColumnElement, Select, and_, func, insert, literal, or_, select

from ledger import changes, events
from ledger.database import Transaction
from ledger.errors import NotFound, ReasonRefused
from ledger.identity import AliasHasher, normalise
from ledger.keys import KeyRing
from ledger.sealed import seal, unseal
from ledger.selectors import SubjectName
from ledger.tables import ForgetRequest, HeldRequest, Hold, Record, SubjectAlias

_ADDRESS = re.compile(r"[^\s@]@[^\s@]")
_MATCH = and_(
    Hold.tenant_id == SubjectAlias.tenant_id,
    Hold.type == SubjectAlias.type,
    Hold.format == SubjectAlias.format,
    Hold.hmac == SubjectAlias.hmac,
)


def place(
    tx: Transaction, tenant_id: str, subject: SubjectName, reason: str, hasher: AliasHasher, ring: KeyRing
) -> Hold:
    """Keep a subject's records, present and future, from being forgotten or corrected.

    What is on its way out already is not held: see `leaving`. Raises InvalidIdentifier, ReasonRefused.
    """
    alias = hasher.lookup(subject.type, subject.format, subject.value)
    named = re.compile(rf"(?<!\w){re.escape(normalise(alias.type, subject.value))}(?!\w)", re.IGNORECASE)
    if _ADDRESS.search(reason) or named.search(reason):
        raise ReasonRefused
    changes.lock_sequence(tx, tenant_id)  # a request is resolved wholly before this, or wholly after it
    hold_id = tx.new_id()
    hold = Hold(
        id=hold_id,
        tenant_id=tenant_id,
        type=alias.type,
        format=alias.format,
        hmac=alias.hmac,
        reason=seal(reason.encode(), ring=ring, context=_context(hold_id), random=tx.random),
        created_at=tx.now,
    )
    tx.session.add(hold)
    tx.session.flush()
    events.append(tx, tenant_id, "hold.placed", hold_id)
    return hold


def get(tx: Transaction, tenant_id: str, hold_id: str, *, lock: bool = False) -> Hold:
    """Return a hold of this tenant. Raises NotFound, also once it is released."""
    hold = tx.session.get(Hold, hold_id, with_for_update=lock or None)
    if hold is None or hold.tenant_id != tenant_id:
        raise NotFound("hold", hold_id)
    return hold


def list_all(tx: Transaction, tenant_id: str) -> Sequence[Hold]:
    """Return the tenant's holds, oldest first."""
    query = select(Hold).where(Hold.tenant_id == tenant_id).order_by(Hold.created_at, Hold.id)
    return tx.session.execute(query).scalars().all()


def reason(hold: Hold, ring: KeyRing) -> str:
    """Return why, in the operator's words. Raises ObjectCorrupt."""
    return unseal(hold.reason, ring=ring, context=_context(hold.id), name="reason of a hold").decode()


def _context(hold_id: str) -> bytes:
    return b"hold:" + hold_id.encode()


def records(tx: Transaction, hold: Hold) -> int:
    """Count the records that the hold keeps now."""
    return _count(tx, _of(hold), Record.removed_seq.is_(None))


def leaving(tx: Transaction, hold: Hold) -> int:
    """Count the subject's records that the hold came too late for: they are being forgotten or corrected already."""
    return _count(tx, _of(hold), Record.removed_seq.is_not(None))


def _of(hold: Hold) -> ColumnElement[bool]:
    subject = select(SubjectAlias.subject_id).where(
        SubjectAlias.tenant_id == hold.tenant_id,
        SubjectAlias.type == hold.type,
        SubjectAlias.format == hold.format,
        SubjectAlias.hmac == hold.hmac,
    )
    return Record.subject_id.in_(subject)


def _count(tx: Transaction, *conditions: ColumnElement[bool]) -> int:
    return tx.session.execute(select(func.count()).select_from(Record).where(*conditions)).scalar_one()


def subjects(tx: Transaction, tenant_id: str) -> Select[str] | None:
    """Return a query for the ids of all subjects on hold; None when nobody is."""
    if tx.session.execute(select(Hold.id).where(Hold.tenant_id == tenant_id).limit(1)).first() is None:
        return None
    return select(SubjectAlias.subject_id).join(Hold, _MATCH).where(Hold.tenant_id == tenant_id)


def keep_back(tx: Transaction, request: ForgetRequest, selected: ColumnElement[bool]) -> ColumnElement[bool]:
    """Leave out the selected records that are on hold, and return the condition on the others.

    Notes in the request how many there are, which holds keep them, and what to select again when one is released.
    """
    on_hold = subjects(tx, request.tenant_id)
    if on_hold is None:
        return selected
    kept = and_(selected, Record.subject_id.in_(on_hold))
    request.held = _count(tx, kept) or None
    if request.held:
        keeping = (
            select(Hold.id, literal(request.id))
            .join(SubjectAlias, _MATCH)
            .where(
                Hold.tenant_id == request.tenant_id,
                SubjectAlias.subject_id.in_(select(Record.subject_id).where(kept)),
            )
        )
        tx.session.execute(insert(HeldRequest).from_select(["hold_id", "request_id"], keeping.distinct()))
        request.selector = _narrowed(tx, request, kept)
    return and_(selected, or_(Record.subject_id.is_(None), Record.subject_id.not_in(on_hold)))


def _narrowed(tx: Transaction, request: ForgetRequest, kept: ColumnElement[bool]) -> dict[str, object]:
    """Return the selector, without the subjects of whom nothing was kept back."""
    selector = dict(request.selector or {})
    if "aliases" not in selector:
        return selector
    held = select(SubjectAlias).where(SubjectAlias.subject_id.in_(select(Record.subject_id).where(kept)))
    names = {(row.type, row.format, row.hmac.hex()) for row in tx.session.execute(held).scalars()}
    selector["aliases"] = [alias for alias in selector["aliases"] if tuple(alias) in names]
    selector["forms"] = []  # they are suppressed already, and may have withdrawn that since
    return selector
