"""Which parameters are linearized unless told, and a network cut in two, so that only its rest is differentiated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from unlearning.architectures.all_cnn import AllCnn
from unlearning.architectures.core_network import LEAK, CoreNetwork
from unlearning.architectures.mlp import Mlp
from unlearning.architectures.resnet import ResNet, averaged
from unlearning.architectures.small_cnn import GRID, SmallCnn
from unlearning.errors import OutOfRange

Step = Callable[[Any, Tensor], Tensor]
"""(network, activations) -> activations."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of a network: prefixes of its parameters' names, and what it does to the previous step's output."""

    prefixes: tuple[str, ...]
    run: Step


class Rest(nn.Module):
    """What comes after a cut; `network` holds the parameters, under their names behind `network.`."""

    def __init__(self, network: nn.Module, steps: tuple[Step, ...]) -> None:
        """Keep the network and the steps."""
        super().__init__()
        self.network = network
        self.steps = steps

    def forward(self, cached: Tensor) -> Tensor:
        """Return the logits (n, C) from the activations at the cut."""
        for step in self.steps:
            cached = step(self.network, cached)
        return cached


def stages(network: nn.Module) -> tuple[Stage, ...]:
    """Return the steps of one of Lacuna's own networks, whose composition is its logits; () for any other network."""
    if isinstance(network, Mlp):
        return mlp_stages(network)
    if isinstance(network, SmallCnn):
        return small_cnn_stages(network)
    if isinstance(network, AllCnn):
        return all_cnn_stages(network)
    if isinstance(network, ResNet):
        return resnet_stages(network)
    return ()


def cut(network: nn.Module, parameters: tuple[str, ...]) -> tuple[Callable[[Tensor], Tensor], Rest]:
    """Return what runs once, and the rest, beginning with the first step that has one of the named parameters.

    Raises OutOfRange: a network that is not one of Lacuna's own, or a parameter of none of its steps.
    """
    steps = stages(network)
    if not steps:
        raise OutOfRange("network with a cut point", type(network).__name__, "Lacuna's own; others without a cut")
    holders = [next((i for i, s in enumerate(steps) if name.startswith(s.prefixes)), None) for name in parameters]
    first = min((i for i in holders if i is not None), default=None)
    if first is None or None in holders:
        raise OutOfRange("parameters behind the cut", parameters, "one or more, each of one step of the network")

    def before(x: Tensor) -> Tensor:
        with torch.no_grad():
            for step in steps[:first]:
                x = step.run(network, x)
        return x

    return before, Rest(network, tuple(step.run for step in steps[first:]))


def default_parameters(network: CoreNetwork) -> tuple[str, ...]:
    """Return the parameters that tangent maps linearize: of the last two steps and the output layer.

    Of an operator's network, all: nothing is known of its steps.
    """
    steps = stages(network)
    prefixes = tuple(prefix for step in steps[-3:] for prefix in step.prefixes) if steps else ("",)
    return tuple(name for name, _ in network.named_parameters() if name.startswith(prefixes))


def mlp_stages(network: Mlp) -> tuple[Stage, ...]:
    """Return one step per hidden layer, and the output layer."""

    def hidden(i: int) -> Step:
        return lambda net, x: functional.leaky_relu(net.norms[i](net.linears[i](x)), LEAK)

    built = [Stage((f"linears.{i}.", f"norms.{i}."), hidden(i)) for i in range(len(network.linears))]
    return (*built, output_stage())


def small_cnn_stages(network: SmallCnn) -> tuple[Stage, ...]:
    """Return one step per block, the hidden layer, and the output layer."""
    last = len(network.convolutions) - 1

    def block(i: int) -> Step:
        def run(net: Any, x: Tensor) -> Tensor:
            made = functional.leaky_relu(net.norms[i](net.convolutions[i](x)), LEAK)
            return (
                functional.adaptive_avg_pool2d(made, GRID).flatten(1) if i == last else functional.max_pool2d(made, 2)
            )

        return run

    def hidden(net: Any, x: Tensor) -> Tensor:
        return functional.leaky_relu(net.hidden_norm(net.hidden(x)), LEAK)

    built = [Stage((f"convolutions.{i}.", f"norms.{i}."), block(i)) for i in range(last + 1)]
    return (*built, Stage(("hidden.", "hidden_norm."), hidden), output_stage())


def all_cnn_stages(network: AllCnn) -> tuple[Stage, ...]:
    """Return one step per convolution, the last with the average over the image, and the output layer."""
    last = len(network.convolutions) - 1

    def layer(i: int) -> Step:
        def run(net: Any, x: Tensor) -> Tensor:
            made = network.act(net.norms[i](net.convolutions[i](x)))
            return averaged(made, 1) if i == last else made

        return run

    built = [Stage((f"convolutions.{i}.", f"norms.{i}."), layer(i)) for i in range(last + 1)]
    return (*built, output_stage())


def resnet_stages(network: ResNet) -> tuple[Stage, ...]:
    """Return the stem, one step per block, and the average with the output layer."""

    def stem(net: Any, x: Tensor) -> Tensor:
        made = network.act(net.bn1(net.conv1(x)))
        return functional.max_pool2d(made, kernel_size=3, stride=2, padding=1) if network.plan.photo_stem else made

    def block(name: str) -> Step:
        return lambda net, x: net.get_submodule(name)(x)

    built = [Stage(("conv1.", "bn1."), stem)]
    for stage in network.stages:
        count = len(list(network.get_submodule(stage).children()))
        built += [Stage((f"{stage}.{i}.",), block(f"{stage}.{i}")) for i in range(count)]
    return (*built, Stage(("fc.",), lambda net, x: net.fc(averaged(x, 1))))


def output_stage() -> Stage:
    """Return the output layer of the other networks."""
    return Stage(("output.",), lambda net, x: net.output(x))
