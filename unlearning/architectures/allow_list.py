"""Which networks an installation has: those of Lacuna, and those that its operator names. A value that is handed in."""

import pkgutil
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import torch

from unlearning.architectures.all_cnn import AllCnn
from unlearning.architectures.core_network import CoreNetwork
from unlearning.architectures.mlp import Mlp
from unlearning.architectures.resnet import CIFAR_RESNET_20, RESNET_18, RESNET_50, Plan, ResNet
from unlearning.architectures.small_cnn import SmallCnn
from unlearning.architectures.wrapped import Factory, wrap
from unlearning.errors import ArchitectureRefused, OutOfRange, UnknownArchitecture

Shape = tuple[int, ...]
Build = Callable[[Shape, int, torch.Generator, bool], CoreNetwork]

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
TARGET = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)


def resnet(plan: Plan) -> Build:
    """Return the builder of one residual network."""
    return lambda shape, classes, generator, leaky: ResNet(shape, classes, generator, plan=plan, leaky=leaky)


def always_leaky(name: str, made: Callable[[Shape, int, torch.Generator], CoreNetwork]) -> Build:
    """Return the builder of a network that has a Leaky-ReLU of its own, and so no such option."""

    def build(shape: Shape, classes: int, generator: torch.Generator, leaky: bool) -> CoreNetwork:
        if leaky:
            raise OutOfRange("leaky", leaky, f"false: {name} has a Leaky-ReLU anyway")
        return made(shape, classes, generator)

    return build


BUILDERS: Mapping[str, Build] = {
    "small-cnn": always_leaky("small-cnn", SmallCnn),
    "mlp": always_leaky("mlp", Mlp),
    "all-cnn": lambda shape, classes, generator, leaky: AllCnn(shape, classes, generator, leaky=leaky),
    "resnet18": resnet(RESNET_18),
    "resnet50": resnet(RESNET_50),
    "cifar-resnet-20": resnet(CIFAR_RESNET_20),
}


@dataclass(frozen=True, slots=True)
class Architectures:
    """The networks that may be named. `factories` are the operator's, beside Lacuna's own."""

    factories: Mapping[str, Factory] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raises ArchitectureRefused: a name that is malformed or Lacuna's own."""
        for name in self.factories:
            if not NAME.fullmatch(name):
                raise ArchitectureRefused(name, "a name is 1 to 64 of a-z, 0-9, '.', '_' and '-'")
            if name in BUILDERS:
                raise ArchitectureRefused(name, "Lacuna has a network of this name; a certificate must not be unclear")

    def __iter__(self) -> Iterator[str]:
        """Return the names."""
        return iter((*BUILDERS, *self.factories))

    def build(
        self, name: str, input_shape: Shape, classes: int, generator: torch.Generator, *, leaky: bool = False
    ) -> CoreNetwork:
        """Return a freshly drawn network in training mode; the weights depend on `generator` alone.

        `leaky` puts a Leaky-ReLU (slope 0.01) in the place of ReLU; the parameters keep their names.
        Raises UnknownArchitecture; OutOfRange: fewer than two classes, or a shape or option that the network cannot
        take; ArchitectureRefused: an operator's network that makes no logits (n, classes).
        """
        if name not in BUILDERS and name not in self.factories:
            raise UnknownArchitecture(name, self)
        if classes < 2:
            raise OutOfRange("classes", classes, ">= 2")
        if name in BUILDERS:
            return BUILDERS[name](input_shape, classes, generator, leaky)
        return wrap(name, self.factories[name], input_shape, classes, generator, leaky=leaky)


BUILT_IN = Architectures()
"""Lacuna's own networks."""


def read_allow_list(entries: str) -> Architectures:
    """Return Lacuna's networks and those of `entries`, `name=package.module:factory` separated by commas.

    The modules are imported: only an operator may write this text.
    Raises ArchitectureRefused: an entry that is malformed, named twice, or names nothing that can be called.
    """
    factories: dict[str, Factory] = {}
    for entry in filter(None, (part.strip() for part in entries.split(","))):
        name, _, target = (part.strip() for part in entry.partition("="))
        if not TARGET.fullmatch(target):
            raise ArchitectureRefused(name, f"{entry!r} is not name=package.module:factory")
        if name in factories:
            raise ArchitectureRefused(name, "it is in the list twice")
        try:
            factory = pkgutil.resolve_name(target)
        except (ImportError, AttributeError, SyntaxError) as problem:
            raise ArchitectureRefused(name, f"{target} cannot be imported: {problem}") from problem
        if not callable(factory):
            raise ArchitectureRefused(name, f"{target} is nothing that can be called")
        factories[name] = factory
    return Architectures(factories)
