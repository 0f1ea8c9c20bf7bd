"""Predictions: f(x) = f_c(x) + W^T phi(x), on the same quantized features that training saw."""

import numpy as np
import numpy.typing as npt

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
    if weights.shape != (model.width, model.classes):
        raise ShapeMismatch("weights", weights.shape, (model.width, model.classes))
    inputs = model.input_spec.prepare(x)
    logits = np.empty((x.shape[0], model.classes))
    for start in range(0, x.shape[0], LARGEST_PASS):
        phi, core = features_and_logits(model.network, model.feature_map, inputs[start : start + LARGEST_PASS])
        features = model.plan.phi_values(model.plan.quantize_phi(phi))
        outputs = model.plan.core_values(model.plan.quantize_core_output(core))
        logits[start : start + LARGEST_PASS] = outputs + features @ weights
    return logits


def probabilities(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the softmax of each row, without overflow."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    normalised: npt.NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return normalised
