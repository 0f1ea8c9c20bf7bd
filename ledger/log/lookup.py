"""Finding a tenant's entries of the log, and the proof that one of them stands in it."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import or_, select

from evidence.tlog_proof import TlogProof
from ledger import timeline
from ledger.database import Transaction
from ledger.errors import NotFound
from ledger.log.proofs import newest_checkpoint
from ledger.log.tree import StoredTree
from ledger.tables import Event, Leaf

LARGEST = 2**63 - 1


def find(tx: Transaction, tenant_id: str, wanted: str, *, limit: int) -> Sequence[timeline.Entry]:
    """Return the tenant's newest events about the id `wanted`, or the one whose number it is."""
    number = int(wanted) if wanted.isascii() and wanted.isdigit() and len(wanted) < 20 else -1
    same = or_(Event.subject == wanted, Event.id == number) if 0 <= number <= LARGEST else Event.subject == wanted
    query = (
        select(Event, Leaf.position)
        .outerjoin(Leaf, Leaf.event_id == Event.id)
        .where(Event.tenant_id == tenant_id, same)
        .order_by(Event.id.desc())
        .limit(limit)
    )
    return [timeline.entry(event, position) for event, position in tx.session.execute(query)]


def newest(tx: Transaction, tenant_id: str, *, limit: int) -> Sequence[timeline.Entry]:
    """Return the tenant's newest events."""
    query = (
        select(Event, Leaf.position)
        .outerjoin(Leaf, Leaf.event_id == Event.id)
        .where(Event.tenant_id == tenant_id)
        .order_by(Event.id.desc())
        .limit(limit)
    )
    return [timeline.entry(event, position) for event, position in tx.session.execute(query)]


def proof(tx: Transaction, tenant_id: str, event_id: int) -> tuple[TlogProof, bytes]:
    """Return the proof of one of the tenant's events under the newest checkpoint, and the leaf hash in the log.

    Raises NotFound: there is no such event, or it has no place yet; it gets one within moments.
    """
    query = (
        select(Leaf.position, Leaf.leaf_hash, Event.body)
        .join(Event, Event.id == Leaf.event_id)
        .where(Event.tenant_id == tenant_id, Event.id == event_id)
    )
    found = tx.session.execute(query).first()
    if found is None:
        raise NotFound("place in the log of event", str(event_id))
    position, leaf, body = found
    checkpoint = newest_checkpoint(tx)
    entry = body if isinstance(body, bytes) else str(body).encode()  # SQLite keeps text where somebody put text
    return TlogProof(position, StoredTree(tx).inclusion(position, checkpoint.size), checkpoint.note, entry), leaf
