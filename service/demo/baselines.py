"""What forgetting would cost without Lacuna: training again without the forgotten records. Really run, and timed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from service.demo.data import CLASS_NAMES, SHAPE, Records
from service.demo.deployment import MODEL
from unlearning.architectures import build_network
from unlearning.core_training import batch_starts, train_core
from unlearning.input_spec import fit_input_spec
from unlearning.public_model import fit_public_model

EPOCHS = 50
BATCH = 64
RATE = 1e-3
SEED = 1

Progress = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Baseline:
    """Seconds that a retraining took, and its accuracy on the test digits (0 to 1)."""

    seconds: float
    accuracy: float


def retrain_network(core: Records, users: Records, test: Records, on_progress: Progress) -> Baseline:
    """Train the whole network again for 50 epochs, on core and retained records."""
    x, y = np.concatenate([core.x, users.x]), np.concatenate([core.y, users.y])
    spec = fit_input_spec(x, CLASS_NAMES)
    inputs, labels = spec.prepare(x), torch.from_numpy(y)
    generator = torch.Generator().manual_seed(SEED)
    network = build_network(str(MODEL["architecture"]), SHAPE, len(CLASS_NAMES), generator)
    started = time.perf_counter()
    train_core(network, inputs, labels, epochs=EPOCHS, generator=generator, on_progress=on_progress)
    seconds = time.perf_counter() - started
    with torch.inference_mode():
        found = network(spec.prepare(test.x)).argmax(dim=1).numpy()
    return Baseline(seconds, float(np.mean(found == test.y)))


def retrain_linear(core: Records, users: Records, test: Records, on_progress: Progress) -> Baseline:
    """Train only the last, linear layer again for 50 epochs of SGD, on cached features of the retained records."""
    public = fit_public_model(
        core.x,
        core.y,
        class_names=CLASS_NAMES,
        architecture=str(MODEL["architecture"]),
        feature_map=str(MODEL["feature_map"]),
        epochs=int(str(MODEL["epochs"])),
        seed=SEED,
        on_progress=lambda fraction: on_progress(fraction / 2),
    )
    rows, tests = public.extract(users.x, users.y), public.extract(test.x, test.y)
    phi, outputs, labels = (
        torch.from_numpy(public.plan.phi_values(rows.phi)).float(),
        torch.from_numpy(public.plan.core_values(rows.core_output)).float(),
        torch.from_numpy(users.y),
    )
    generator = torch.Generator().manual_seed(SEED)
    weights = torch.zeros(public.width, public.classes, requires_grad=True)
    optimizer = torch.optim.SGD([weights], lr=RATE, momentum=0.9, weight_decay=float(str(MODEL["mu"])))
    started = time.perf_counter()
    for epoch in range(EPOCHS):
        order = torch.randperm(len(users), generator=generator)
        for start in batch_starts(len(users), BATCH):
            batch = order[start : start + BATCH]
            optimizer.zero_grad()
            loss = functional.cross_entropy(outputs[batch] + phi[batch] @ weights, labels[batch])
            torch.autograd.backward(loss)
            optimizer.step()
        on_progress(0.5 + (epoch + 1) / EPOCHS / 2)
    seconds = time.perf_counter() - started
    logits = public.plan.core_values(tests.core_output) + public.plan.phi_values(tests.phi) @ weights.detach().numpy()
    return Baseline(seconds, float(np.mean(logits.argmax(axis=1) == test.y)))
