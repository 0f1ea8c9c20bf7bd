"""Public feature maps: head, pooled, nystrom."""

import torch
from torch import Tensor

from unlearning.architectures import Activations, CoreNetwork
from unlearning.errors import CorruptArtifact, OutOfRange, ShapeMismatch, UnknownFeatureMap
from unlearning.feature_maps.base import FeatureMap
from unlearning.feature_maps.head import fit_head, restore_head
from unlearning.feature_maps.nystrom import BANDWIDTH_SHARE, fit_nystrom, restore_nystrom
from unlearning.feature_maps.pooled import fit_pooled, restore_pooled

FEATURE_MAPS = ("head", "pooled", "nystrom")
CORE_BATCH = 256

__all__ = ["FEATURE_MAPS", "FeatureMap", "core_activations", "fit_feature_map", "fit_map_on", "restore_feature_map"]


def core_activations(network: CoreNetwork, core_inputs: Tensor) -> Activations:
    """Return the activations of all core inputs, batch by batch, in evaluation mode."""
    network.eval()
    with torch.inference_mode():
        parts = [network.activations(batch) for batch in torch.split(core_inputs, CORE_BATCH)]
    return Activations(
        tuple(torch.cat(layer) for layer in zip(*(p.pooled for p in parts), strict=True)),
        torch.cat([p.penultimate for p in parts]),
        torch.cat([p.logits for p in parts]),
    )


def fit_feature_map(
    name: str,
    network: CoreNetwork,
    core_inputs: Tensor,
    *,
    width: int | None = None,
    bandwidth: float | None = None,
    generator: torch.Generator,
) -> FeatureMap:
    """Fit a map on prepared core inputs (n, *input_shape). Only nystrom has a choice of width and bandwidth, and draws.

    Raises UnknownFeatureMap; OutOfRange: a width or bandwidth the map cannot have.
    """
    if name not in FEATURE_MAPS:
        raise UnknownFeatureMap(name, FEATURE_MAPS)
    return fit_map_on(
        name, core_activations(network, core_inputs), width=width, bandwidth=bandwidth, generator=generator
    )


def fit_map_on(
    name: str, core: Activations, *, width: int | None, bandwidth: float | None, generator: torch.Generator
) -> FeatureMap:
    """Fit a map on core activations. Raises as `fit_feature_map`."""
    if name not in FEATURE_MAPS:
        raise UnknownFeatureMap(name, FEATURE_MAPS)
    if name == "nystrom":
        return fit_nystrom(core, width, generator, BANDWIDTH_SHARE if bandwidth is None else bandwidth)
    if bandwidth is not None:
        raise OutOfRange(f"bandwidth of {name}", bandwidth, "none given")
    return fit_head(core, width) if name == "head" else fit_pooled(core, width)


def restore_feature_map(name: str, tensors: dict[str, Tensor]) -> FeatureMap:
    """Rebuild a map from its constants.

    Raises UnknownFeatureMap; CorruptArtifact: constants are missing or do not fit together.
    """
    if name not in FEATURE_MAPS:
        raise UnknownFeatureMap(name, FEATURE_MAPS)
    try:
        if name == "head":
            return restore_head(tensors)
        if name == "pooled":
            return restore_pooled(tensors)
        return restore_nystrom(tensors)
    except (KeyError, ShapeMismatch, ValueError) as problem:
        raise CorruptArtifact("feature map", str(problem)) from problem
