"""Computing predictions in a few threads of their own, so that they neither wait for nor delay the database."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from service.refusals import InstancesRefused
from service.serving.model import ServedModel
from unlearning.errors import NonFinite, ShapeMismatch
from unlearning.prediction import predict_logits, probabilities

Prepare = Callable[[ServedModel], npt.NDArray[Any]]
"""Turns what was sent into records (n, *shape) for a model. May raise InstancesRefused."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A finished prediction: the version it was computed from, and the JSON to send."""

    number: int
    body: bytes


class Inference:
    """A pool of threads for torch.

    Within one prediction torch computes with as many threads as the process has chosen before (`lacuna server` does):
    another number may change the last bits of an answer.
    """

    def __init__(self, *, workers: int) -> None:
        """Start with `workers` predictions at the same time."""
        # A new thread takes over the process's number when it asks for it; until then OpenMP has its own.
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="predict", initializer=torch.get_num_threads)

    async def answer(self, model: ServedModel, prepare: Prepare) -> Answer:
        """Compute an answer from `model`. Raises InstancesRefused, BodyUnreadable."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, compute, model, prepare)

    def close(self) -> None:
        """Wait for what is being computed, and stop."""
        self._pool.shutdown(cancel_futures=True)


def compute(model: ServedModel, prepare: Prepare) -> Answer:
    """Return the prediction for every record, as JSON that names the version it comes from.

    Raises InstancesRefused: the records do not fit the model.
    """
    try:
        chances = probabilities(predict_logits(model.public, model.weights, prepare(model)))
    except (ShapeMismatch, NonFinite) as problem:
        raise InstancesRefused(str(problem)) from problem
    labels = np.argmax(chances, axis=1)
    names = model.public.input_spec.class_names
    predictions = [
        {"label": int(label), "class_name": names[label], "probabilities": row}
        for label, row in zip(labels, chances.tolist(), strict=True)
    ]
    content = {"model": model.line_id, "model_version": model.number, "predictions": predictions}
    return Answer(model.number, json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode())
