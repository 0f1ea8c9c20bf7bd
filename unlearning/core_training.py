"""Training the core network, on core data only."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from unlearning.architectures import CoreNetwork
from unlearning.errors import OutOfRange, ShapeMismatch

EPOCHS = 60
BATCH_SIZE = 64
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 5e-2
LABEL_SMOOTHING = 0.1
CPU = torch.device("cpu")


def silent(_fraction: float) -> None:
    """Ignore progress."""


def train_core(
    network: CoreNetwork,
    x: Tensor,
    y: Tensor,
    *,
    epochs: int = EPOCHS,
    batch_size: int = BATCH_SIZE,
    learning_rate: float = LEARNING_RATE,
    generator: torch.Generator,
    on_progress: Callable[[float], None] = silent,
    device: torch.device = CPU,
) -> None:
    """Train in place by cross-entropy with AdamW under a one-cycle schedule; end in evaluation mode.

    x (n, *input_shape) float32 prepared inputs, y (n,) int64 labels. Batches are drawn from `generator` alone, so the
    result is the same, bit for bit, on one processor with one thread count. `device` computes; batches go there one by
    one, and the network comes back to the processor at the end. `on_progress` gets the fraction done, 0 to 1.
    Labels are smoothed, which keeps the logits within the range of the user model's targets.
    Raises ShapeMismatch; OutOfRange: fewer than two records, or a setting that is not positive.
    """
    records = x.shape[0]
    if y.shape != (records,):
        raise ShapeMismatch("labels", tuple(y.shape), (records,))
    if records < 2:
        raise OutOfRange("core records", records, ">= 2")
    if epochs < 1 or batch_size < 2 or learning_rate <= 0:
        raise OutOfRange("epochs, batch size, learning rate", (epochs, batch_size, learning_rate), ">= 1, >= 2, > 0")
    starts = batch_starts(records, batch_size)
    network.to(device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=learning_rate, total_steps=max(2, epochs * len(starts))
    )
    network.train()
    for epoch in range(epochs):
        order = torch.randperm(records, generator=generator)
        for start in starts:
            batch = order[start : start + batch_size]
            optimizer.zero_grad()
            wanted = y[batch].to(device)
            loss = functional.cross_entropy(network(x[batch].to(device)), wanted, label_smoothing=LABEL_SMOOTHING)
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
        on_progress((epoch + 1) / epochs)
    network.to(CPU).eval()


def batch_starts(records: int, batch_size: int) -> list[int]:
    """Return where batches start. A last batch of one record is left out: BatchNorm has no variance there."""
    return [start for start in range(0, records, batch_size) if records - start >= 2]
