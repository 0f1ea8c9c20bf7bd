"""Reading stored records back into arrays."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sqlalchemy import select

from ledger import inventory
from ledger.ledger import Ledger
from ledger.shards import InMemory, ShardReader
from ledger.tables import Cohort, Record, RecordShard, Upload
from ledger.uploads import record_context

Records = npt.NDArray[np.generic]
Labels = npt.NDArray[np.int64]


def decode(payloads: list[bytes], cohort: Cohort) -> Records:
    """Return records (n, *shape) from their stored bytes."""
    flat = np.frombuffer(b"".join(payloads), dtype=np.dtype(cohort.dtype).newbyteorder("<"))
    return flat.reshape(len(payloads), *cohort.shape).astype(cohort.dtype)


def read_cohort(ledger: Ledger, cohort_id: str) -> tuple[Records, Labels]:
    """Return a whole cohort: records (n, *shape) and labels (n,). For public cohorts, which fit into memory.

    The order depends on the content alone, so that training on the same core cohort twice gives the same network.
    """
    with ledger.database.read() as tx:
        cohort = tx.session.get_one(Cohort, cohort_id)
        query = (
            select(RecordShard.object_name)
            .join(Upload, Upload.id == RecordShard.upload_id)
            .where(RecordShard.cohort_id == cohort_id, Upload.stored_seq.is_not(None))
        )
        names = tx.session.execute(query).scalars().all()
        of_cohort = select(Record.id, Record.class_index).where(Record.cohort_id == cohort_id)
        labels = {row.id: row.class_index for row in tx.session.execute(of_cohort)}
    found = []
    for name in names:
        reader = _whole(ledger, name, record_context(cohort_id))
        found += [(labels[record_id], payload) for record_id, payload in reader.read_all()]
    found.sort()
    return decode([payload for _, payload in found], cohort), np.array([label for label, _ in found], dtype=np.int64)


def read_shard(ledger: Ledger, cohort: Cohort, object_name: str) -> tuple[list[int], Records]:
    """Return the ids and records of one shard.

    Raises ObjectMissing when the shard was rewritten meanwhile, ObjectCorrupt when it is not the one that was written:
    an older one would bring forgotten records back.
    """
    reader = _whole(ledger, object_name, record_context(cohort.id))
    pairs = list(reader.read_all())
    return [record_id for record_id, _ in pairs], decode([payload for _, payload in pairs], cohort)


def _whole(ledger: Ledger, name: str, context: bytes) -> ShardReader:
    content = InMemory(inventory.read(ledger.database, ledger.objects, name))
    return ShardReader(content, name, ring=ledger.ring, context=context)
