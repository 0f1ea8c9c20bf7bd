"""How informative each record is for the model: what its absence does to predictions on a validation set.

F-SI(i) = mean over validation records of ||f(x) - f_-i(x)||^2 (dissertation, eq. 5.9), in squared logits. With
G = mean of Phi(x)^T Phi(x), (d, d), it is tr(D_i^T G D_i) for the change of weights D_i, so the validation records are
looked at once and not once per record: O((n + m) d^2 + d^3) for a shared map.
"""

import torch
from torch import Tensor

from unlearning.errors import OutOfRange
from unlearning.influence.fitted import Fitted, Ridge, StoredFeatures, gram_of
from unlearning.influence.leave_one_out import BLOCK, changes_of_each
from unlearning.influence.leave_out import check_same_map


def informativeness(
    fitted: Fitted, at: StoredFeatures, ridge: Ridge = Ridge.PER_RECORD, *, block: int = BLOCK
) -> Tensor:
    """Return F-SI of all n records on the validation records `at`, (n,), exact up to rounding and never negative.

    Raises OutOfRange: no validation record, block not positive; ShapeMismatch; ProblemRefused.
    """
    check_same_map(fitted, at)
    if not at.count:
        raise OutOfRange("validation records", 0, ">= 1")
    moment = gram_of(at) / at.count
    parts = [changes.squared(moment) for changes in changes_of_each(fitted, ridge, block=block)]
    return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.float64)
