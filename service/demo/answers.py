"""Asking a service for predictions, and what its answers are worth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from service.client import LacunaClient
from service.demo.data import Records

BATCH = 150


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """labels (n,), probabilities (n, 10) exactly as the service sent them, and the versions that answered."""

    labels: npt.NDArray[np.int64]
    probabilities: npt.NDArray[np.float64]
    versions: frozenset[int]

    def accuracy(self, records: Records) -> float:
        """Return the share of these records that was classified rightly; they must be those that were asked for."""
        return float(np.mean(self.labels == records.y))

    def same_as(self, other: Answers) -> bool:
        """Whether every probability is the same number."""
        return bool(np.array_equal(self.probabilities, other.probabilities))


def ask(client: LacunaClient, model: str, records: Records) -> Answers:
    """Return the service's predictions for all records, in batches."""
    labels: list[int] = []
    rows: list[list[float]] = []
    versions: set[int] = set()
    for start in range(0, len(records), BATCH):
        answer = client.predict(model, records.x[start : start + BATCH])
        versions.add(int(answer["model_version"]))
        labels += [int(prediction["label"]) for prediction in answer["predictions"]]
        rows += [prediction["probabilities"] for prediction in answer["predictions"]]
    return Answers(np.array(labels), np.array(rows), frozenset(versions))
