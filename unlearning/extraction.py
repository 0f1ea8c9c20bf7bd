"""From prepared inputs to the floats that get quantized, the same whatever stands beside a record."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from unlearning.architectures import CoreNetwork
from unlearning.feature_maps import FeatureMap

PADDED_BATCH = 64
"""Every pass of ingestion has this many rows, the last one filled up with zeros: other shapes run other kernels."""

Floats = npt.NDArray[np.float32]


def features_and_logits(network: CoreNetwork, feature_map: FeatureMap, inputs: Tensor) -> tuple[Floats, Floats]:
    """Return phi, (n, d) or (n, C, d), and core logits (n, C). Safe from several threads."""
    features, outputs = feature_map.evaluate(network, inputs)
    phi: Floats = features.numpy()
    logits: Floats = outputs.numpy()
    return phi, logits


def extract_padded(network: CoreNetwork, feature_map: FeatureMap, inputs: Tensor, batch: int) -> tuple[Floats, Floats]:
    """Return phi and core logits of all inputs, in passes of exactly `batch` rows."""
    phis, outputs = [], []
    for chunk in torch.split(inputs, batch):
        padded = chunk
        if chunk.shape[0] < batch:
            padded = torch.cat([chunk, chunk.new_zeros(batch - chunk.shape[0], *chunk.shape[1:])])
        phi, logits = features_and_logits(network, feature_map, padded)
        phis.append(phi[: chunk.shape[0]])
        outputs.append(logits[: chunk.shape[0]])
    return np.concatenate(phis), np.concatenate(outputs)


def is_row_invariant(
    network: CoreNetwork, feature_map: FeatureMap, input_shape: tuple[int, ...], generator: torch.Generator
) -> bool:
    """Whether a record's floats are the same bits in every row of a padded batch and beside other neighbours.

    Random inputs go through in their order, then in a random order, then each alone among zeros, at a random row.
    """
    inputs = torch.randn(PADDED_BATCH, *input_shape, generator=generator)
    phi, logits = features_and_logits(network, feature_map, inputs)
    order = torch.randperm(PADDED_BATCH, generator=generator)
    moved_phi, moved_logits = features_and_logits(network, feature_map, inputs[order])
    if not (same_bits(moved_phi, phi[order]) and same_bits(moved_logits, logits[order])):
        return False
    rows = torch.randint(0, PADDED_BATCH, (8,), generator=generator).tolist()
    for record, row in enumerate(rows):
        alone = torch.zeros_like(inputs)
        alone[row] = inputs[record]
        lone_phi, lone_logits = features_and_logits(network, feature_map, alone)
        if not (same_bits(lone_phi[row], phi[record]) and same_bits(lone_logits[row], logits[record])):
            return False
    return True


def same_bits(left: Floats, right: Floats) -> bool:
    """Whether two arrays are equal bit for bit."""
    return bool(np.array_equal(left.view(np.int32), np.ascontiguousarray(right).view(np.int32)))
