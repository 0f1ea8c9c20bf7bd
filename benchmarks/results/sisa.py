"""Sharded retraining, the rival that forgets exactly by design.

Source: Bourtoule et al. 2021, "Machine unlearning", section 4: records are dealt into S shards, one model learns each,
the models' answers are averaged, and a deletion retrains the models whose shards held a deleted record. Each model
starts at the public core, like everything else here. Slices (checkpoints inside a shard) are left out.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.results.fine_tuning import Tail, tail_logits

Train = Callable[[Tensor, int], Tail]
"""Trains a model on the records of an index (m,), with a seed."""


@dataclass
class Sharded:
    """S models; `shard` (n,) says where each record went, `kept` (n,) whether it is still there."""

    shard: Tensor
    kept: Tensor
    models: list[Tail]
    train: Train
    seed: int

    def forget(self, index: Tensor) -> int:
        """Take records out and retrain every model that had seen one of them. Return how many that were."""
        self.kept[index] = False
        touched = torch.unique(self.shard[index]).tolist()
        for number in touched:
            self.models[number] = self.train(members(self.shard, self.kept, number), self.seed + number)
        return len(touched)

    def logits(self, x: Tensor) -> Tensor:
        """Return the logarithm of the models' mean probabilities, (n, C)."""
        mean = torch.stack([tail_logits(model, x).softmax(1) for model in self.models]).mean(0)
        return mean.log()


def train_sharded(records: int, shards: int, train: Train, seed: int) -> Sharded:
    """Deal records into equal shards at random and train one model on each."""
    order = torch.randperm(records, generator=torch.Generator().manual_seed(seed))
    shard = torch.empty(records, dtype=torch.int64)
    shard[order] = torch.arange(records) % shards
    kept = torch.ones(records, dtype=torch.bool)
    models = [train(members(shard, kept, number), seed + number) for number in range(shards)]
    return Sharded(shard, kept, models, train, seed)


def members(shard: Tensor, kept: Tensor, number: int) -> Tensor:
    """Return the index of the records that one model learns from."""
    return torch.nonzero((shard == number) & kept).flatten()
