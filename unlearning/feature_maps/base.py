"""What every feature map offers, and the public standardisation they share."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from unlearning.architectures import Activations, CoreNetwork
from unlearning.errors import OutOfRange, ShapeMismatch

SMALLEST_DEVIATION = 1e-6
"""Columns that vary less than this share of the most varying one say nothing on core data and are switched off."""


class FeatureMap(Protocol):
    """A public function of a record: core data fixes it, users' data never do.

    A shared map gives all outputs the same features phi (d,), a map per output gives each its own, Phi (C, d). Over the
    core records the mean square of a column (per output: summed over the outputs) is one in the mean over columns. So
    the mean eigenvalue of A/n is about one, whatever the map and its width, and mu is measured against that.
    """

    @property
    def name(self) -> str:
        """Return the name it is registered under."""
        ...

    @property
    def width(self) -> int:
        """Return d, a bias column included."""
        ...

    @property
    def per_output(self) -> bool:
        """Whether every output has features of its own."""
        ...

    def evaluate(self, network: CoreNetwork, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features, (n, d) or (n, C, d), and the core logits (n, C) of prepared inputs, float32.

        Safe from several threads. Raises ShapeMismatch: another network than the one it was fitted to.
        """
        ...

    def to_tensors(self) -> dict[str, Tensor]:
        """Return every constant, all from core data; `feature_maps.restore_feature_map` reads them back."""
        ...


class ActivationMap:
    """A shared map that reads the activations of one forward pass. Its last column is ones, the bias."""

    __slots__ = ()

    @property
    def per_output(self) -> bool:
        """Whether every output has features of its own: no."""
        return False

    def phi(self, activations: Activations) -> Tensor:
        """Return the features (n, d), float32. Raises ShapeMismatch: activations of another network."""
        raise NotImplementedError

    def evaluate(self, network: CoreNetwork, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features (n, d) and the core logits (n, C) of one forward pass. Raises ShapeMismatch."""
        with torch.inference_mode():
            activations = network.activations(inputs)
            return self.phi(activations), activations.logits


@dataclass(frozen=True, slots=True, eq=False)
class CoreRecords:
    """What a map is fitted on: the network, prepared inputs (n, *input_shape), and their activations."""

    network: CoreNetwork
    inputs: Tensor
    activations: Activations


@dataclass(frozen=True, slots=True)
class MapOptions:
    """What may be chosen of a map; None leaves the default."""

    width: int | None = None
    bandwidth: float | None = None


@dataclass(frozen=True, slots=True)
class MapKind:
    """A registered map: how it is fitted and read back, and which of MapOptions' fields it leaves to choice.

    `fit` raises OutOfRange for options that the map cannot have. `restore` raises KeyError, ValueError, ShapeMismatch
    or OutOfRange for constants that are missing or do not fit together.
    """

    name: str
    options: frozenset[str]
    fit: Callable[[CoreRecords, MapOptions, torch.Generator], FeatureMap]
    restore: Callable[[dict[str, Tensor]], FeatureMap]


@dataclass(frozen=True, slots=True, eq=False)
class Standardiser:
    """(h - center) * scale per column; a column that is constant on core data has scale 0."""

    center: Tensor
    scale: Tensor

    def __post_init__(self) -> None:
        if self.center.ndim != 1 or self.center.shape != self.scale.shape:
            raise ShapeMismatch("center, scale", (tuple(self.center.shape), tuple(self.scale.shape)), "(w,) both")

    @property
    def columns(self) -> int:
        """w."""
        return int(self.center.shape[0])

    def __call__(self, h: Tensor) -> Tensor:
        """Return h (n, w) with mean zero and mean square one over the core records."""
        if h.shape[1] != self.columns:
            raise ShapeMismatch("activations", tuple(h.shape), ("n", self.columns))
        return (h - self.center) * self.scale


def fit_standardiser(h: Tensor) -> Standardiser:
    """Measure core activations h (n, w) in float64.

    Raises OutOfRange: fewer than two records.
    """
    if h.shape[0] < 2:
        raise OutOfRange("core records", h.shape[0], ">= 2")
    values = h.double()
    deviation = values.std(dim=0, correction=0)
    constant = deviation <= SMALLEST_DEVIATION * deviation.max()
    scale = torch.where(constant, 0.0, 1.0 / torch.where(constant, 1.0, deviation))
    return Standardiser(values.mean(dim=0).float(), scale.float())


def with_bias(columns: Tensor) -> Tensor:
    """Append the column of ones."""
    return torch.cat([columns, columns.new_ones(columns.shape[0], 1)], dim=1)


def check_natural_width(name: str, width: int | None, natural: int) -> None:
    """Check a width against the only one that a map without choice has.

    Raises OutOfRange: another width was asked for.
    """
    if width is not None and width != natural:
        raise OutOfRange(f"width of {name}", width, f"{natural} with this network, or none given")
