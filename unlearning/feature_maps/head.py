"""head: the penultimate activations, standardised, and the bias."""

from dataclasses import dataclass

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
class HeadMap(ActivationMap):
    """phi = [standardised penultimate activations, 1]."""

    standardiser: Standardiser

    @property
    def name(self) -> str:
        """Return the registered name."""
        return "head"

    @property
    def width(self) -> int:
        """Return h + 1."""
        return self.standardiser.columns + 1

    def phi(self, activations: Activations) -> Tensor:
        """Return the features (n, h + 1)."""
        return with_bias(self.standardiser(activations.penultimate))

    def to_tensors(self) -> dict[str, Tensor]:
        """Return the standardisation."""
        return {"center": self.standardiser.center, "scale": self.standardiser.scale}


def fit_head(core: Activations, width: int | None) -> HeadMap:
    """Fit on core activations. The network fixes the width.

    Raises OutOfRange: another width was asked for.
    """
    fitted = HeadMap(fit_standardiser(core.penultimate))
    check_natural_width("head", width, fitted.width)
    return fitted


def restore_head(tensors: dict[str, Tensor]) -> HeadMap:
    """Read `to_tensors` back. Raises KeyError, ShapeMismatch: other tensors."""
    return HeadMap(Standardiser(tensors["center"], tensors["scale"]))


KIND = MapKind(
    name="head",
    options=frozenset(),
    fit=lambda core, options, _generator: fit_head(core.activations, options.width),
    restore=restore_head,
)
