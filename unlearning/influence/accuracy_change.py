"""How many test records are classified rightly without a record, or a group of them: accuracy after minus before."""

import torch
from torch import Tensor

from unlearning.errors import OutOfRange, ShapeMismatch
from unlearning.influence.fitted import Fitted, Ridge, StoredFeatures
from unlearning.influence.leave_one_out import PerOutputChanges, changes_of_each
from unlearning.influence.leave_out import change_of_predictions, check_same_map
from unlearning.linear.features import PerOutputFeatures, SharedFeatures, check_matrix

BLOCK = 64
"""Records handled together: b times m times C predictions are in memory."""


def accuracy_change(
    fitted: Fitted, group: Tensor, at: StoredFeatures, core: Tensor, labels: Tensor, ridge: Ridge = Ridge.PER_RECORD
) -> float:
    """Return the change of the share of test records whose largest output is their label, when `group` is left out.

    `at`, core outputs `core` (m, C) and `labels` (m,) int64 are the test records.
    Raises as `leave_out.change_of_weights`; OutOfRange: no test record, or a label; NonFinite.
    """
    check_test(fitted, at, core, labels)
    outputs = core + at.apply(fitted.weights)
    return _right(outputs + change_of_predictions(fitted, group, at, ridge), labels) - _right(outputs, labels)


def accuracy_change_of_each(
    fitted: Fitted,
    at: StoredFeatures,
    core: Tensor,
    labels: Tensor,
    ridge: Ridge = Ridge.PER_RECORD,
    *,
    block: int = BLOCK,
) -> Tensor:
    """Return the change for each of the n records left out alone, (n,); O(n m (d + C)). Raises as `accuracy_change`."""
    check_test(fitted, at, core, labels)
    outputs = core + at.apply(fitted.weights)
    before = _right(outputs, labels)
    parts = []
    for changes in changes_of_each(fitted, ridge, block=block):
        if isinstance(changes, PerOutputChanges):
            assert isinstance(at, PerOutputFeatures)
            moved = changes.predictions(at)
        else:
            assert isinstance(at, SharedFeatures)
            moved = changes.predictions(at)
        right = (outputs + moved).argmax(dim=2) == labels
        parts.append(right.double().mean(dim=1) - before)
    return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.float64)


def check_test(fitted: Fitted, at: StoredFeatures, core: Tensor, labels: Tensor) -> None:
    """Raise ShapeMismatch, NonFinite, OutOfRange unless these are test records of the fitted map."""
    check_same_map(fitted, at)
    check_matrix("core outputs", core, dimensions=2)
    if core.shape != (at.count, at.outputs):
        raise ShapeMismatch("core outputs", tuple(core.shape), (at.count, at.outputs))
    if labels.shape != (at.count,) or labels.dtype != torch.int64:
        raise ShapeMismatch("labels", (tuple(labels.shape), labels.dtype), ((at.count,), torch.int64))
    if not at.count:
        raise OutOfRange("test records", 0, ">= 1")
    if not 0 <= int(labels.min()) <= int(labels.max()) < at.outputs:
        raise OutOfRange("label", (int(labels.min()), int(labels.max())), f"0 to {at.outputs - 1}")


def _right(outputs: Tensor, labels: Tensor) -> float:
    return float((outputs.argmax(dim=1) == labels).double().mean())
