"""What the log says to those who ask: its newest checkpoint, and proofs against it."""

from __future__ import annotations

from sqlalchemy import ColumnElement, select, true

from evidence.tlog_proof import TlogProof
from ledger.database import Transaction
from ledger.errors import NotFound
from ledger.log.tree import StoredTree
from ledger.tables import Event, Leaf, LogCheckpoint


def newest_checkpoint(tx: Transaction) -> LogCheckpoint:
    """Return the checkpoint of the largest size. Raises NotFound: nothing has been sequenced yet."""
    query = select(LogCheckpoint).order_by(LogCheckpoint.size.desc()).limit(1)
    found = tx.session.execute(query).scalar_one_or_none()
    if found is None:
        raise NotFound("checkpoint", "newest")
    return found


def checkpoints(tx: Transaction, *, limit: int = 100) -> list[LogCheckpoint]:
    """Return the newest checkpoints, largest first."""
    return list(tx.session.execute(select(LogCheckpoint).order_by(LogCheckpoint.size.desc()).limit(limit)).scalars())


def consistency(tx: Transaction, old: int, new: int) -> list[bytes]:
    """Return the path from the log of `old` entries to that of `new`. Raises NotFound: the log never had so many."""
    size = newest_checkpoint(tx).size
    if not 0 < old <= new <= size:
        raise NotFound("log of size", f"{old} to {new}, of {size}")
    return StoredTree(tx).consistency(old, new)


def of_event(tx: Transaction, tenant_id: str, kind: str, subject: str, *, size: int | None = None) -> TlogProof:
    """Return the proof that the newest event of this kind about `subject` stands in the log, with the event in it.

    `size`: of the checkpoint that it is to lead to; without it the newest. Raises NotFound: there is no such event or
    checkpoint, or the event has no place yet (it gets one within moments), or none among the first `size`.
    """
    return _newest_of(tx, kind, subject, Event.tenant_id == tenant_id, size=size)


def of_announcement(tx: Transaction, key_id: str) -> str | None:
    """Return the proof that a signing key was announced in the log; None for the first key, and before its place."""
    try:
        return _newest_of(tx, "signing_key.announced", key_id, true(), size=None).text()
    except NotFound:
        return None


def _newest_of(
    tx: Transaction, kind: str, subject: str, condition: ColumnElement[bool], *, size: int | None
) -> TlogProof:
    query = (
        select(Leaf.position, Event.body)
        .join(Event, Event.id == Leaf.event_id)
        .where(condition, Event.kind == kind, Event.subject == subject)
        .order_by(Event.id.desc())
        .limit(1)
    )
    found = tx.session.execute(query).first()
    if found is None:
        raise NotFound(f"place in the log of {kind}", subject)
    position, body = found
    checkpoint = newest_checkpoint(tx) if size is None else tx.session.get(LogCheckpoint, size)
    if checkpoint is None or checkpoint.size <= position:
        raise NotFound("checkpoint that covers this, of size", str(size))
    return TlogProof(position, StoredTree(tx).inclusion(position, checkpoint.size), checkpoint.note, body)
