"""What a key is told of a prediction, in the form of /predict: probabilities, rounded ones, or labels alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ledger.api_keys import LABEL, ROUNDED, Outputs
from service.serving.model import ServedModel

Chances = npt.NDArray[np.float64]
"""Probabilities (n, C)."""
JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Answer:
    """A finished prediction: the generation and the version it was computed from, and what to send."""

    model_id: str
    number: int
    body: bytes
    media_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Allowed:
    """How an answer may look. spent: the key's budget of nats is, and it is to be told."""

    outputs: Outputs
    spent: bool = False


Render = Callable[[ServedModel, Chances], Answer]
"""Turns what was computed into an answer."""


def told(chances: Chances, outputs: Outputs) -> Chances | None:
    """Return the probabilities as a key may see them, None if it may not."""
    if outputs.mode == LABEL:
        return None
    return np.round(chances, outputs.digits or 0) if outputs.mode == ROUNDED else chances


def as_predictions(allowed: Allowed) -> Render:
    """Return what writes the answer of /predict."""
    outputs = allowed.outputs

    def render(model: ServedModel, chances: Chances) -> Answer:
        names = model.public.input_spec.class_names
        predictions: list[dict[str, Any]] = [
            {"label": label, "class_name": names[label]} for label in chances.argmax(axis=1).tolist()
        ]
        shown = told(chances, outputs)
        if shown is not None:
            for one, row in zip(predictions, shown.tolist(), strict=True):
                one["probabilities"] = row
        content: dict[str, Any] = {
            "model": model.line_id,
            "model_version": model.number,
            "outputs": outputs.mode,
            "predictions": predictions,
        }
        if outputs.digits is not None:
            content["digits"] = outputs.digits
        if allowed.spent:
            content["leakage_budget"] = "spent"
        body = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
        return Answer(model.model_id, model.number, body, headers=spent_header(allowed))

    return render


def spent_header(allowed: Allowed) -> tuple[tuple[str, str], ...]:
    """Return the header that says that a budget is spent, if it is."""
    return (("X-Leakage-Budget", "spent"),) if allowed.spent else ()
