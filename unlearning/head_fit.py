"""A new output layer on a fixed backbone, from core data only: ridge regression in closed form."""

import torch
from torch import Tensor

from unlearning.errors import OutOfRange

RIDGES = tuple(10.0**k for k in range(-6, 3))
"""Tried strengths, in units of the mean eigenvalue of the features' covariance."""


def fit_head(h: Tensor, labels: Tensor, classes: int, alpha: float) -> tuple[Tensor, Tensor]:
    """Return weight (C, p) and bias (C,), float32, of the ridge regression from h (n, p) to alpha * onehot(labels).

    The strength is the one of RIDGES with the smallest generalized cross-validation error
    (Golub, Heath, Wahba 1979, eq. 2.3). All is float64 and nothing is drawn, so equal core records give equal bits
    on one machine with one thread count.
    Raises OutOfRange: fewer than two records, or features that are all constant.
    """
    records, width = h.shape
    if records < 2:
        raise OutOfRange("core records", records, ">= 2")
    values = h.double()
    center = values.mean(dim=0)
    deviation = values.std(dim=0, correction=0)
    constant = deviation <= 1e-6 * deviation.max()
    if bool(constant.all()):
        raise OutOfRange("features of the imported core", "the same for all core records", "different ones")
    scale = torch.where(constant, 0.0, 1.0 / torch.where(constant, 1.0, deviation))
    z = (values - center) * scale
    targets = torch.zeros(records, classes, dtype=torch.float64)
    targets[torch.arange(records), labels] = alpha
    intercept = targets.mean(dim=0)
    targets -= intercept
    eigenvalues, vectors = torch.linalg.eigh(z.T @ z / records)
    eigenvalues = eigenvalues.clamp_min(0.0)
    projected = vectors.T @ (z.T @ targets) / records
    unit = float(eigenvalues.sum()) / width
    best: tuple[float, Tensor] | None = None
    for ridge in RIDGES:
        shrunk = eigenvalues + ridge * unit
        weights = vectors @ (projected / shrunk.unsqueeze(1))
        degrees = 1.0 + float((eigenvalues / shrunk).sum())
        if degrees >= records:
            continue
        error = float((targets - z @ weights).square().sum()) / (1.0 - degrees / records) ** 2
        if best is None or error < best[0]:
            best = (error, weights)
    if best is None:
        raise OutOfRange("core records", records, "more, to fit a new head")
    weight = (best[1] * scale.unsqueeze(1)).T
    bias = intercept - weight @ center
    return weight.float(), bias.float()
