"""The core networks that can be named: Lacuna's own, and those an operator allows."""

import torch

from unlearning.architectures.allow_list import BUILT_IN, Architectures, read_allow_list
from unlearning.architectures.core_network import Activations, CoreNetwork
from unlearning.architectures.wrapped import Factory, parameter_count

__all__ = [
    "BUILT_IN",
    "Activations",
    "Architectures",
    "CoreNetwork",
    "Factory",
    "build_network",
    "parameter_count",
    "read_allow_list",
]


def build_network(
    name: str, input_shape: tuple[int, ...], classes: int, generator: torch.Generator, *, leaky: bool = False
) -> CoreNetwork:
    """Return one of Lacuna's own networks; see `Architectures.build`."""
    return BUILT_IN.build(name, input_shape, classes, generator, leaky=leaky)
