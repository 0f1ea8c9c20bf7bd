"""Which records a shard holds by the ledger's rows: what an object in the store says about itself is no proof."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select

from ledger.database import Transaction
from ledger.tables import Record


def known(tx: Transaction, shard_ids: Sequence[str]) -> dict[str, set[int]]:
    """Return the ids of the records of each of these shards, forgotten ones included until their rows are deleted."""
    found: dict[str, set[int]] = {shard_id: set() for shard_id in shard_ids}
    for start in range(0, len(shard_ids), 500):
        query = select(Record.shard_id, Record.id).where(Record.shard_id.in_(shard_ids[start : start + 500]))
        for shard_id, record_id in tx.session.execute(query):
            found[shard_id].add(record_id)
    return found
