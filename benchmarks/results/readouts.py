"""What somebody can read off a model after a forget (dissertation, section 6.6.1): errors and distances."""

import numpy as np
import torch
from torch import Tensor

from benchmarks.results.worlds import Mapped
from unlearning.rows import QuantizedRows


def error(logits: Tensor, labels: Tensor) -> float:
    """Return the per cent of records that are classified wrongly; NaN without records."""
    if not len(labels):
        return float("nan")
    return 100.0 * float((logits.argmax(1) != labels).double().mean())


def activation_distance(left: Tensor, right: Tensor) -> float:
    """Return the mean L1 distance of the softmax outputs, 0 to 2 (section 6.6.1, item 3)."""
    return float((left.softmax(1) - right.softmax(1)).abs().sum(1).mean())


def weight_distance(left: Tensor, right: Tensor) -> float:
    """Return ||left - right|| / ||right||."""
    return float(torch.linalg.norm(left - right) / torch.linalg.norm(right))


def linear_logits(mapped: Mapped, rows: QuantizedRows, weights: Tensor) -> Tensor:
    """Return f_c + Phi w, (n, C), on the integers that are stored."""
    plan = mapped.model.plan
    learned = plan.phi_values(rows.phi) @ weights.numpy()
    return torch.from_numpy(plan.core_values(rows.core_output) + (learned[..., 0] if plan.per_output else learned))


def labels_of(rows: QuantizedRows) -> Tensor:
    """Return labels (n,) int64."""
    return torch.from_numpy(rows.labels.astype(np.int64))
