"""Stored integer rows as features and targets in real units. The scaling by powers of two is exact."""

import numpy as np
import torch
from torch import Tensor

from unlearning.linear.features import PerOutputFeatures, SharedFeatures
from unlearning.linear.problem import RetainedProblem
from unlearning.quantization import QuantizationPlan
from unlearning.rows import QuantizedRows, targets


def features_of(rows: QuantizedRows, plan: QuantizationPlan) -> SharedFeatures | PerOutputFeatures:
    """Return the operator of the rows' features."""
    phi = torch.from_numpy(plan.phi_values(rows.phi))
    return PerOutputFeatures(phi) if rows.per_output else SharedFeatures(phi, plan.classes)


def targets_of(rows: QuantizedRows, plan: QuantizationPlan) -> Tensor:
    """Return y - f_c, (n, C). Raises ShapeMismatch, OutOfRange: rows that `plan` cannot have produced."""
    return torch.from_numpy(np.ldexp(targets(rows, plan).astype(np.float64), -plan.target_exponent))


def problem_of(rows: QuantizedRows, plan: QuantizationPlan, mu: float) -> RetainedProblem:
    """Return the quadratic of these records. Raises OutOfRange, ShapeMismatch."""
    return RetainedProblem(features_of(rows, plan), targets_of(rows, plan), mu)
