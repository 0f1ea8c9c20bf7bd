"""Public feature maps. A new one is a file that describes itself as a `MapKind`, and a line in KINDS."""

import torch
from torch import Tensor

from unlearning.architectures import Activations, CoreNetwork
from unlearning.errors import CorruptArtifact, OutOfRange, ShapeMismatch, UnknownFeatureMap
from unlearning.feature_maps import head, nystrom, pooled, tangent
from unlearning.feature_maps.base import ActivationMap, CoreRecords, FeatureMap, MapKind, MapOptions

KINDS: tuple[MapKind, ...] = (
    head.KIND,
    pooled.KIND,
    nystrom.KIND,
    tangent.KRONECKER,
    tangent.RANDOM,
)
FEATURE_MAPS = tuple(kind.name for kind in KINDS)
CORE_BATCH = 256

__all__ = [
    "FEATURE_MAPS",
    "ActivationMap",
    "CoreRecords",
    "FeatureMap",
    "core_activations",
    "core_records",
    "fit_feature_map",
    "fit_map_on",
    "map_options",
    "restore_feature_map",
]


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


def core_records(network: CoreNetwork, core_inputs: Tensor) -> CoreRecords:
    """Return what maps are fitted on, with the activations of one pass."""
    return CoreRecords(network, core_inputs, core_activations(network, core_inputs))


def fit_feature_map(
    name: str,
    network: CoreNetwork,
    core_inputs: Tensor,
    *,
    width: int | None = None,
    bandwidth: float | None = None,
    generator: torch.Generator,
) -> FeatureMap:
    """Fit a map on prepared core inputs (n, *input_shape); `map_options` says which of the options it leaves to choice.

    Raises UnknownFeatureMap; OutOfRange: a width or bandwidth the map cannot have.
    """
    find(name)
    return fit_map_on(name, core_records(network, core_inputs), width=width, bandwidth=bandwidth, generator=generator)


def fit_map_on(
    name: str, core: CoreRecords, *, width: int | None, bandwidth: float | None, generator: torch.Generator
) -> FeatureMap:
    """Fit a map where the activations are known already. Raises as `fit_feature_map`."""
    kind = find(name)
    if bandwidth is not None and "bandwidth" not in kind.options:
        raise OutOfRange(f"bandwidth of {name}", bandwidth, "none given")
    return kind.fit(core, MapOptions(width, bandwidth), generator)


def restore_feature_map(name: str, tensors: dict[str, Tensor]) -> FeatureMap:
    """Rebuild a map from its constants.

    Raises UnknownFeatureMap; CorruptArtifact: constants are missing or do not fit together.
    """
    kind = find(name)
    try:
        return kind.restore(tensors)
    except (LookupError, ShapeMismatch, OutOfRange, ValueError) as problem:
        raise CorruptArtifact("feature map", str(problem)) from problem


def map_options(name: str) -> frozenset[str]:
    """Return which of `width` and `bandwidth` may be chosen for a map. Raises UnknownFeatureMap."""
    return find(name).options


def find(name: str) -> MapKind:
    """Return a registered map. Raises UnknownFeatureMap."""
    for kind in KINDS:
        if kind.name == name:
            return kind
    raise UnknownFeatureMap(name, FEATURE_MAPS)
