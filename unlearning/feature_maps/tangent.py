"""tangent, tangent-random: the Jacobian of the core network in its parameters, restricted to a public subspace.

Source: the mixed-linear model of the dissertation, section 6.5: f(x) = f_c(x) + J(x) u with J the Jacobian of f_c; here
u = U w with public orthonormal directions U. `tangent` takes them from the core's Fisher information, `tangent-random`
at random. The features differ from output to output: Phi(x) = scale * J(x) U is (C, k).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unlearning.architectures import CoreNetwork
from unlearning.errors import NonFinite, OutOfRange, ShapeMismatch
from unlearning.feature_maps.base import CoreRecords, MapKind, MapOptions
from unlearning.feature_maps.cut_point import default_parameters
from unlearning.feature_maps.kronecker import kronecker_blocks
from unlearning.feature_maps.layer_calls import layer_parameters
from unlearning.feature_maps.random_subspace import random_blocks
from unlearning.feature_maps.subspace import Block, restricted

DEFAULT_WIDTH = 256
PASS = 64
"""Records per forward and backward pass, to bound the memory: the passes of ingestion have as many."""

Blocks = Callable[[CoreNetwork, Sequence[str], Tensor, int, torch.Generator], list[Block]]


@dataclass(frozen=True, slots=True, eq=False)
class TangentMap:
    """Phi = scale * J U; `scale` makes the mean square over core records, summed over outputs, one per column."""

    name: str
    blocks: tuple[Block, ...]
    scale: Tensor

    def __post_init__(self) -> None:
        """Raise ShapeMismatch: a scale that is not one positive number; OutOfRange: no directions."""
        if self.scale.numel() != 1 or not 0.0 < float(self.scale) < math.inf:
            raise ShapeMismatch("scale of a tangent map", tuple(self.scale.shape), "one positive number")
        if not self.blocks:
            raise OutOfRange("blocks of a tangent map", 0, ">= 1")

    @property
    def per_output(self) -> bool:
        """Whether every output has features of its own: yes."""
        return True

    @property
    def width(self) -> int:
        """Return k."""
        return sum(block.width for block in self.blocks)

    def evaluate(self, network: CoreNetwork, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features (n, C, k) and the logits (n, C), float32. Raises ShapeMismatch: another network."""
        parts = [restricted(network, self.blocks, batch) for batch in torch.split(inputs, PASS)]
        return torch.cat([phi for phi, _ in parts]) * self.scale, torch.cat([logits for _, logits in parts])

    def to_tensors(self) -> dict[str, Tensor]:
        """Return the directions, by parameter, and the scale."""
        tensors = {"scale": self.scale}
        for place, block in enumerate(self.blocks):
            prefix = f"{place:04d}.{block.parameter}."
            tensors |= {
                prefix + "inputs": block.inputs,
                prefix + "outputs": block.outputs,
                prefix + "pairs": block.pairs,
            }
        return tensors


def fit_tangent(
    name: str, blocks: Blocks, core: CoreRecords, options: MapOptions, generator: torch.Generator
) -> TangentMap:
    """Choose `options.width` directions among the parameters of the network's last steps, and measure the scale.

    Without a width it is 256, or all directions where there are fewer.
    Raises OutOfRange: more directions than parameters, or features that are all zero; NonFinite.
    """
    parameters = layer_parameters(core.network, default_parameters(core.network), core.inputs[:1])
    available = sum(core.network.get_parameter(one).numel() for one in parameters)
    width = min(DEFAULT_WIDTH, available) if options.width is None else options.width
    plain = TangentMap(name, tuple(blocks(core.network, parameters, core.inputs, width, generator)), torch.tensor(1.0))
    square, records = 0.0, core.inputs.shape[0]
    for batch in torch.split(core.inputs, PASS):
        square += float(plain.evaluate(core.network, batch)[0].double().square().sum())
    if not math.isfinite(square):
        raise NonFinite(f"squared features of {name}", 1)
    if square == 0.0:
        raise OutOfRange(f"features of {name}", "all zero on core records", "some that are not")
    return TangentMap(name, plain.blocks, torch.tensor(math.sqrt(records * plain.width / square)))


def restore_tangent(name: str, tensors: dict[str, Tensor]) -> TangentMap:
    """Read `to_tensors` back. Raises KeyError, ShapeMismatch, OutOfRange: other tensors."""
    scale = tensors["scale"]
    prefixes = sorted({key.rsplit(".", 1)[0] for key in tensors if key != "scale"})
    blocks = tuple(
        Block(
            prefix.split(".", 1)[1],
            *(tensors[f"{prefix}.{part}"] for part in ("inputs", "outputs", "pairs")),
        )
        for prefix in prefixes
    )
    return TangentMap(name, blocks, scale)


def on_kronecker(
    network: CoreNetwork, parameters: Sequence[str], inputs: Tensor, width: int, generator: torch.Generator
) -> list[Block]:
    """Return the top of the core Fisher's Kronecker eigenbasis. Raises OutOfRange."""
    return kronecker_blocks(network, parameters, inputs, width, generator)


def at_random(
    network: CoreNetwork, parameters: Sequence[str], _inputs: Tensor, width: int, generator: torch.Generator
) -> list[Block]:
    """Return random directions. Raises OutOfRange."""
    return random_blocks(network, parameters, width, generator)


def kind(name: str, blocks: Blocks) -> MapKind:
    """Return the registered form of a tangent map with these directions."""
    return MapKind(
        name=name,
        options=frozenset({"width"}),
        fit=lambda core, options, generator: fit_tangent(name, blocks, core, options, generator),
        restore=lambda tensors: restore_tangent(name, tensors),
    )


KRONECKER = kind("tangent", on_kronecker)
RANDOM = kind("tangent-random", at_random)
