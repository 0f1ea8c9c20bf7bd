"""What a model's active version tells about records that are to leave it: their differencing exposure, in nats."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch

from ledger.tables import Model
from unlearning.bounds.exposure import ScaledRidge, prepare
from unlearning.errors import BoundRefused
from unlearning.linear.from_rows import features_of, targets_of
from unlearning.public_model import PublicModel
from unlearning.rows import QuantizedRows
from unlearning.statistics import Statistics
from workers import noising

WITHOUT_NOISE = (
    "Infinite. This model publishes without noise, so whoever has two versions, with and without the records, can "
    "compute from their difference what the records were. Noise would make it finite."
)
OF_ONE_VERSION = "Of the active version, for the record it exposes most. Earlier versions that held it add theirs."
ALONE = "Infinite. The record is the only one that the version holds, or so dominant that noise cannot hide it."


def exposure(
    model: Model, public: PublicModel, statistics: Statistics, removed: Iterable[QuantizedRows]
) -> tuple[float | None, str]:
    """Return the largest exposure of the removed records in the version with these statistics, and what it means.

    None stands for infinite, or for no record at all. The version's own distance from its optimum is left out: it is
    within kappa. Raises ShapeMismatch, OutOfRange: rows that are not the model's.
    """
    if model.noise is None:
        return None, WITHOUT_NOISE
    if statistics.count < 2:
        return None, ALONE
    assert model.mu is not None
    plan = public.plan
    gram = torch.from_numpy(statistics.gram).double() * math.ldexp(1.0, -2 * plan.phi_exponent)
    cross = torch.from_numpy(statistics.cross).double() * math.ldexp(1.0, -plan.phi_exponent - plan.target_exponent)
    asked = prepare(gram, cross, statistics.count, ScaledRidge(model.mu), noising.covariance(model))
    largest = 0.0
    try:
        for rows in removed:
            if rows.count:
                found = asked.of(features_of(rows, plan).phi, targets_of(rows, plan))
                largest = max(largest, float(found.max()))
    except BoundRefused:
        return None, ALONE
    return (largest, OF_ONE_VERSION) if math.isfinite(largest) else (None, ALONE)
