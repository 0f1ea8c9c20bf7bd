"""Reading quantized feature rows back, in groups that fit into memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np

from ledger.folding import FeatureRows
from ledger.ledger import Ledger
from ledger.shards import ShardReader
from ledger.uploads import feature_context
from unlearning.public_model import PublicModel
from unlearning.rows import QuantizedRows, join
from workers.errors import CheckFailed

SHARDS_AT_ONCE = 128


def read(ledger: Ledger, model_id: str, model: PublicModel, wanted: Sequence[FeatureRows]) -> QuantizedRows:
    """Return the rows of these records. Raises CheckFailed when a stored label is not the ledger's; ObjectMissing."""
    parts = []
    for shard in wanted:
        reader = ShardReader(ledger.objects, shard.object_name, ring=ledger.ring, context=feature_context(model_id))
        found = reader.read(shard.classes.keys())
        rows = model.unpack([found[record_id] for record_id in shard.classes])
        if not np.array_equal(rows.labels, np.array(list(shard.classes.values()), dtype=np.int32)):
            raise CheckFailed("labels", "the label stored with a record's features is not the one in the ledger")
        parts.append(rows)
    return join(parts) if parts else model.no_rows()


def groups(wanted: Sequence[FeatureRows]) -> Iterator[list[FeatureRows]]:
    """Cut a list of shards into groups that are read together."""
    shards = iter(wanted)
    while group := list(islice(shards, SHARDS_AT_ONCE)):
        yield group


def read_groups(
    ledger: Ledger, model_id: str, model: PublicModel, wanted: Sequence[FeatureRows]
) -> Iterator[QuantizedRows]:
    """Read the rows of these records group by group. Raises as `read`."""
    for group in groups(wanted):
        yield read(ledger, model_id, model, group)
