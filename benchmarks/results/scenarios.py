"""Who is forgotten, in which requests; and the outcome of one way to do it."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor

from benchmarks.results.readouts import activation_distance, error
from benchmarks.results.record import Record
from benchmarks.results.worlds import World

T = TypeVar("T")
REQUESTS = 10


@dataclass(frozen=True)
class Scenario:
    """`requests`: one index (m,) of users' records per request, in order."""

    name: str
    requests: list[Tensor]

    def forgotten(self, users: int) -> Tensor:
        """Return the mask (n,) of records that are gone in the end."""
        return self.after(len(self.requests), users)

    def after(self, requests: int, users: int) -> Tensor:
        """Return the mask (n,) of records that are gone after so many requests."""
        mask = torch.zeros(users, dtype=torch.bool)
        for request in self.requests[:requests]:
            mask[request] = True
        return mask


def scenarios(world: World) -> list[Scenario]:
    """Return: a tenth in ten requests, a whole class in one, a single record. Class and records follow the seed."""
    users, seed = world.deal.users.count, world.seed
    order = torch.randperm(users, generator=torch.Generator().manual_seed(1000 + seed))
    tenth = order[: users // 10]
    held = torch.unique(world.labels(world.deal.users))
    label = held[seed % len(held)]
    of_class = torch.nonzero(world.labels(world.deal.users) == label).flatten()
    return [
        Scenario("10 % in 10 requests", list(torch.tensor_split(tenth, REQUESTS))),
        Scenario("one class", [of_class]),
        Scenario("one record", [order[-1:]]),
    ]


@dataclass
class Outcome:
    """What a method left: logits of all users (n, C) and of the test records; seconds of every request.

    `reference_test` are the test logits of the model retrained without the forgotten records, to measure the distance
    from; nats is the bound on what is left, summed over the requests, None where no bound exists.
    """

    users_logits: Tensor
    test_logits: Tensor
    seconds: list[float]
    nats: float | None
    reference_test: Tensor | None
    extra: dict[str, str | int | float | bool | None] = field(default_factory=dict)


def note(record: Record, world: World, scenario: Scenario, method: str, outcome: Outcome) -> None:
    """Add the read-outs of one outcome to the record: errors in per cent, distances, nats, seconds per request."""
    gone = scenario.forgotten(world.deal.users.count)
    labels = world.labels(world.deal.users)
    reference = outcome.reference_test
    record.add(
        seed=world.seed,
        scenario=scenario.name,
        method=method,
        records=int(gone.sum()),
        retain_error=error(outcome.users_logits[~gone], labels[~gone]),
        forget_error=error(outcome.users_logits[gone], labels[gone]),
        test_error=error(outcome.test_logits, world.labels(world.deal.test)),
        prediction_distance=None if reference is None else activation_distance(outcome.test_logits, reference),
        nats=outcome.nats,
        seconds=statistics.median(outcome.seconds),
        **outcome.extra,
    )


def timed(work: Callable[[], T], seconds: list[float]) -> T:
    """Run `work`, append its time."""
    start = time.perf_counter()
    result = work()
    seconds.append(time.perf_counter() - start)
    return result
