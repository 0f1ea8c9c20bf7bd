"""Which sizes of a forward pass give a record the same bits, on this machine and number of threads.

Kernels for few rows add in another order than those for many, so a record's last bits depend on the size of the pass
that it is computed in. They do not depend on what stands in the other rows. So if passes have only sizes that were
found equal, filled up with zeros, an answer is the same bits whether a record comes alone or with others.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from unlearning.prediction import logits_of, probabilities
from unlearning.public_model import PublicModel

LARGEST = 64
SIZES = (1, 2, 4, 8, 16, 32, LARGEST)

Floats = npt.NDArray[np.float64]


def equal_sizes(model: PublicModel, generator: torch.Generator) -> tuple[int, ...]:
    """Return the sizes, from some smallest one up to LARGEST, in which a record has the same bits.

    Random records go through with random weights, in every size, each record among others and some among zeros. That
    LARGEST agrees with itself proves nothing, so a single size is none: the answer is empty then.
    """
    inputs = torch.randn(LARGEST, *model.input_spec.input_shape, generator=generator)
    weights = torch.randn(model.weight_shape, generator=generator, dtype=torch.float64).numpy()
    wanted = probabilities(logits_of(model, weights, inputs))
    found: list[int] = []
    for size in reversed(SIZES):
        parts = [probabilities(logits_of(model, weights, part)) for part in torch.split(inputs, size)]
        alone = probabilities(logits_of(model, weights, filled_up(inputs[:1], size)))[:1]
        if not (np.array_equal(np.concatenate(parts), wanted) and np.array_equal(alone, wanted[:1])):
            break
        found.append(size)
    return tuple(reversed(found)) if len(found) > 1 else ()


def filled_up(inputs: Tensor, size: int) -> Tensor:
    """Return prepared inputs (n, ...), n at most `size`, with rows of zeros behind them."""
    missing = size - inputs.shape[0]
    return torch.cat([inputs, inputs.new_zeros(missing, *inputs.shape[1:])]) if missing else inputs


def predict_in(model: PublicModel, weights: Floats, inputs: Tensor, sizes: tuple[int, ...]) -> Floats:
    """Return the probabilities (n, C) of prepared inputs, in passes of the given sizes only.

    Without sizes, as they come: then a record's last bits may depend on how many there are.
    """
    if not sizes:
        return probabilities(logits_of(model, weights, inputs))
    found = []
    for part in torch.split(inputs, sizes[-1]):
        rows = part.shape[0]
        size = next(size for size in sizes if size >= rows)
        found.append(probabilities(logits_of(model, weights, filled_up(part, size)))[:rows])
    return found[0] if len(found) == 1 else np.concatenate(found)
