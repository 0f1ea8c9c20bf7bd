"""Predictions on the same quantized features that training saw.

f(x) = f_c(x) + W^T phi(x), or f_c(x) + Phi(x) w where every output has features of its own.
"""

import numpy as np
import numpy.typing as npt
from torch import Tensor

from unlearning.errors import ShapeMismatch
from unlearning.extraction import features_and_logits
from unlearning.public_model import PublicModel

LARGEST_PASS = 256
"""Records per forward pass, to bound the memory."""


def predict_logits(
    model: PublicModel, weights: npt.NDArray[np.float64], x: npt.NDArray[np.generic]
) -> npt.NDArray[np.float64]:
    """Return the logits (n, C) of raw records x (n, *shape). Safe from several threads.

    The pass has n rows and no padding, so that one record costs one record; its features may therefore differ from
    those of ingestion by one unit of the grid.
    Raises ShapeMismatch, NonFinite: as `InputSpec.prepare`, or weights of another shape.
    """
    if weights.shape != model.weight_shape:
        raise ShapeMismatch("weights", weights.shape, model.weight_shape)
    return logits_of(model, weights, model.input_spec.prepare(x))


def logits_of(model: PublicModel, weights: npt.NDArray[np.float64], inputs: Tensor) -> npt.NDArray[np.float64]:
    """Return the logits (n, C) of prepared inputs (n, *input_shape), in passes of at most LARGEST_PASS."""
    logits = np.empty((inputs.shape[0], model.classes))
    for start in range(0, inputs.shape[0], LARGEST_PASS):
        phi, core = features_and_logits(model.network, model.feature_map, inputs[start : start + LARGEST_PASS])
        features = model.plan.phi_values(model.plan.quantize_phi(phi))
        outputs = model.plan.core_values(model.plan.quantize_core_output(core))
        logits[start : start + LARGEST_PASS] = outputs + user_outputs(features, weights)
    return logits


def user_outputs(features: npt.NDArray[np.float64], weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return what user weights add to the core logits, (n, C), in real units.

    Features (n, d) take weights (d, C); features per output (n, C, d) take weights (d, 1).
    """
    added: npt.NDArray[np.float64] = features @ weights
    return added[..., 0] if features.ndim == 3 else added


def probabilities(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the softmax of each row, without overflow."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    normalised: npt.NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return normalised
