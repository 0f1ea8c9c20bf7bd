"""Minibatches of a model's stored rows, for descent: read in groups of shards that fit into memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ledger.folding import FeatureRows
from ledger.ledger import Ledger
from unlearning.linear.batches import Batches, check_size
from unlearning.linear.features import Features
from unlearning.linear.from_rows import features_of, targets_of
from unlearning.public_model import PublicModel
from unlearning.rows import QuantizedRows
from workers import rows

KEPT_BYTES = 2**28
"""Rows up to this size are read once and kept in memory; larger models are read anew in every pass."""


def stored_batches(
    ledger: Ledger, model_id: str, public: PublicModel, held: Sequence[FeatureRows], size: int
) -> Batches:
    """Return passes over these records: groups of shards in random order, and each group's records in random order.

    Passes raise CheckFailed, ObjectMissing. Raises OutOfRange: size below one.
    """
    check_size(size)
    groups = list(rows.groups(held))
    kept: dict[int, QuantizedRows] = {}
    stored = 0

    def read(number: int) -> QuantizedRows:
        nonlocal stored
        if number in kept:
            return kept[number]
        found = rows.read(ledger, model_id, public, groups[number])
        stored += found.phi.nbytes + found.core_output.nbytes
        if stored <= KEPT_BYTES:
            kept[number] = found
        return found

    def one_pass(generator: torch.Generator) -> Iterator[tuple[Features, Tensor]]:
        for number in torch.randperm(len(groups), generator=generator).tolist():
            found = read(number)
            features, targets = features_of(found, public.plan), targets_of(found, public.plan)
            for index in torch.split(torch.randperm(found.count, generator=generator), size):
                yield features.take(index), targets[index]

    return one_pass
