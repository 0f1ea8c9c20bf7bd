"""pooled: activations of every layer, averaged over space, standardised, and the bias."""

from dataclasses import dataclass

import torch
from torch import Tensor

from unlearning.architectures import Activations
from unlearning.feature_maps.base import (
    ActivationMap,
    MapKind,
    Standardiser,
    check_natural_width,
    fit_standardiser,
    with_bias,
)


@dataclass(frozen=True, slots=True, eq=False)
class PooledMap(ActivationMap):
    """phi = [standardised pooled activations of all layers, 1]."""

    standardiser: Standardiser

    @property
    def name(self) -> str:
        """Return the registered name."""
        return "pooled"

    @property
    def width(self) -> int:
        """Return sum of the layers' widths, plus one."""
        return self.standardiser.columns + 1

    def phi(self, activations: Activations) -> Tensor:
        """Return the features (n, d)."""
        return with_bias(self.standardiser(torch.cat(activations.pooled, dim=1)))

    def to_tensors(self) -> dict[str, Tensor]:
        """Return the standardisation."""
        return {"center": self.standardiser.center, "scale": self.standardiser.scale}


def fit_pooled(core: Activations, width: int | None) -> PooledMap:
    """Fit on core activations. The network fixes the width.

    Raises OutOfRange: another width was asked for.
    """
    fitted = PooledMap(fit_standardiser(torch.cat(core.pooled, dim=1)))
    check_natural_width("pooled", width, fitted.width)
    return fitted


def restore_pooled(tensors: dict[str, Tensor]) -> PooledMap:
    """Read `to_tensors` back. Raises KeyError, ShapeMismatch: other tensors."""
    return PooledMap(Standardiser(tensors["center"], tensors["scale"]))


KIND = MapKind(
    name="pooled",
    options=frozenset(),
    fit=lambda core, options, _generator: fit_pooled(core.activations, options.width),
    restore=restore_pooled,
)
