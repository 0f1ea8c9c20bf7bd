"""The core networks an operator can name."""

from collections.abc import Callable

import torch

from unlearning.architectures.core_network import Activations, CoreNetwork
from unlearning.architectures.mlp import Mlp
from unlearning.architectures.small_cnn import SmallCnn
from unlearning.errors import OutOfRange, UnknownArchitecture

ARCHITECTURES: dict[str, Callable[[tuple[int, ...], int, torch.Generator], CoreNetwork]] = {
    "small-cnn": SmallCnn,
    "mlp": Mlp,
}

__all__ = ["ARCHITECTURES", "Activations", "CoreNetwork", "build_network"]


def build_network(name: str, input_shape: tuple[int, ...], classes: int, generator: torch.Generator) -> CoreNetwork:
    """Return a freshly drawn network in training mode; the weights depend on `generator` alone.

    Raises UnknownArchitecture; OutOfRange: fewer than two classes, or a shape the network cannot take.
    """
    if name not in ARCHITECTURES:
        raise UnknownArchitecture(name, ARCHITECTURES)
    if classes < 2:
        raise OutOfRange("classes", classes, ">= 2")
    return ARCHITECTURES[name](input_shape, classes, generator)
