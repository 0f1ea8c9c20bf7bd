"""Minibatches of records for stochastic gradient descent: one call is one pass."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from unlearning.errors import OutOfRange
from unlearning.linear.features import Features

Batches = Callable[[torch.Generator], Iterator[tuple[Features, Tensor]]]
"""A pass over the records: operators of a few records each, with their targets (m, C)."""


def shuffled(features: Features, targets: Tensor, size: int) -> Batches:
    """Return passes that show each record once, in random order. Raises OutOfRange: size below one."""
    check_size(size)

    def one_pass(generator: torch.Generator) -> Iterator[tuple[Features, Tensor]]:
        for index in torch.split(torch.randperm(features.count, generator=generator), size):
            yield features.take(index), targets[index]

    return one_pass


def drawn(features: Features, targets: Tensor, size: int) -> Batches:
    """Return passes of ceil(n / size) batches drawn independently with replacement, as the a-priori bound assumes.

    Raises OutOfRange: size below one.
    """
    check_size(size)

    def one_pass(generator: torch.Generator) -> Iterator[tuple[Features, Tensor]]:
        for _ in range(-(-features.count // size)):
            index = torch.randint(features.count, (size,), generator=generator)
            yield features.take(index), targets[index]

    return one_pass


def check_size(size: int) -> None:
    """Raise OutOfRange unless a batch holds at least one record."""
    if size < 1:
        raise OutOfRange("records per batch", size, ">= 1")
