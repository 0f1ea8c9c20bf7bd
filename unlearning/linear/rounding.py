"""How much of a gradient computed by a pass over the records may be rounding.

Source: Higham 2002, "Accuracy and Stability of Numerical Algorithms", eq. 3.12: a sum of m products, in any order, has
an error of at most gamma_m times the sum of their magnitudes, gamma_m = m u / (1 - m u).
"""

import torch
from torch import Tensor

from unlearning.errors import OutOfRange
from unlearning.linear.features import Features, KnownEntries
from unlearning.residual import gamma

BLOCK = 4096
"""Records whose magnitudes are held at once."""


def gradient_rounding(features: Features, errors: Tensor, targets: Tensor, weights: Tensor, decay: Tensor) -> float:
    """Return a bound on ||g^ - g||, g^ = Phi^T e / n + decay with e = Phi w - t as computed, n >= 1.

    e is off by at most delta = gamma_{d+2} (|Phi||w| + |t|), and Phi^T e by gamma_N |Phi|^T |e| + |Phi|^T delta, with N
    the number of terms; three more roundings divide by n and add `decay`, the magnitude (d, q) of mu (|w| + |w_ref|).
    The last factor covers the rounding of this bound itself.
    Raises OutOfRange: the entries of `features` are not known, as with a product of a network's derivatives.
    """
    if not isinstance(features, KnownEntries):
        raise OutOfRange(
            "features", type(features).__name__, "with known entries, or hand in a measure of the residual"
        )
    d, q = features.weight_shape
    terms = features.count * features.outputs + 3
    size = weights.abs()
    total = torch.zeros_like(weights)
    for start in range(0, features.count, BLOCK):
        block = torch.arange(start, min(start + BLOCK, features.count), device=weights.device)
        magnitudes = features.take(block).magnitudes()
        delta = gamma(d + 2) * (magnitudes.apply(size) + targets[block].abs())
        total += magnitudes.adjoint(gamma(terms) * errors[block].abs() + delta)
    total = total / features.count + gamma(terms) * decay
    return float(torch.linalg.norm(total)) * (1.0 + 2.0 * gamma(terms + d * q + d + 8))
