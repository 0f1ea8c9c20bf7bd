"""Forgetting by training a network again: all of the same layers, or only the shards that held a record (SISA)."""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from benchmarks.results.fine_tuning import HIDDEN, Tail, below, fine_tune, tail_logits
from benchmarks.results.scenarios import Outcome, Scenario, timed
from benchmarks.results.sisa import train_sharded
from benchmarks.results.worlds import World

LEARNING_RATE = 3e-3
"""The better one of those in part 1, for most runs."""
OTHER_SEED = 500
"""Added to the seed for a second training, which shows how far two retrained networks are apart by chance."""


@dataclass(frozen=True)
class Tuning:
    """What enters the trained layers, for users and for test records; how long they are trained."""

    world: World
    users: Tensor
    test: Tensor
    epochs: int

    def train(self, index: Tensor, seed: int) -> Tail:
        """Train copies of the core's last layers on the chosen users' records."""
        network, labels = self.world.model.network, self.world.labels(self.world.deal.users)
        return fine_tune(
            network,
            HIDDEN,
            self.users[index],
            labels[index],
            epochs=self.epochs,
            learning_rate=LEARNING_RATE,
            seed=seed,
        )


def prepare(world: World, epochs: int) -> Tuning:
    """Compute what lies before the trained layers once; its time counts for nobody."""
    users, test = world.deal.users, world.deal.test
    network = world.model.network
    return Tuning(
        world,
        below(network, world.inputs(users), world.users, HIDDEN),
        below(network, world.inputs(test), world.test, HIDDEN),
        epochs,
    )


def by_retraining(tuning: Tuning, scenario: Scenario) -> Outcome:
    """Train the layers again on the retained records, request after request."""
    users, seconds = len(tuning.users), list[float]()
    for number in range(1, len(scenario.requests) + 1):
        kept = torch.nonzero(~scenario.after(number, users)).flatten()
        tail = timed(partial(tuning.train, kept, tuning.world.seed), seconds)
    another = tuning.train(kept, tuning.world.seed + OTHER_SEED)
    return Outcome(
        tail_logits(tail, tuning.users),
        tail_logits(tail, tuning.test),
        seconds,
        0.0,
        tail_logits(another, tuning.test),
        {"epochs": tuning.epochs},
    )


def by_shards(tuning: Tuning, scenario: Scenario, shards: int) -> Outcome:
    """Deal everybody into shards, then forget request after request; only the forgetting is timed."""
    sharded = train_sharded(len(tuning.users), shards, tuning.train, 100 * tuning.world.seed)
    seconds, retrained = list[float](), 0
    for request in scenario.requests:
        retrained += timed(partial(sharded.forget, request), seconds)
    return Outcome(
        sharded.logits(tuning.users),
        sharded.logits(tuning.test),
        seconds,
        0.0,
        None,
        {"epochs": tuning.epochs, "models_per_request": retrained / len(scenario.requests)},
    )
