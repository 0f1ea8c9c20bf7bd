"""Residual networks: resnet18 and resnet50 for photographs, cifar-resnet-20 for images of about 32x32.

Source: He et al. 2016, "Deep residual learning for image recognition", table 1 and section 4.2.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from unlearning.architectures.core_network import (
    Activations,
    CoreNetwork,
    convolution,
    draw_weights,
    linear,
    rectifier,
)
from unlearning.architectures.residual_block import BasicBlock, Bottleneck
from unlearning.errors import OutOfRange


@dataclass(frozen=True, slots=True)
class Plan:
    """What tells one residual network from another.

    blocks, planes: of each stage; every stage but the first halves the sides. photo_stem: a 7x7 convolution and a
    pooling that quarter the sides first. grid: each stage is averaged over a grid x grid raster for the feature maps.
    """

    block: type[BasicBlock] | type[Bottleneck]
    blocks: tuple[int, ...]
    planes: tuple[int, ...]
    photo_stem: bool
    grid: int
    smallest_side: int


RESNET_18 = Plan(BasicBlock, (2, 2, 2, 2), (64, 128, 256, 512), photo_stem=True, grid=1, smallest_side=32)
RESNET_50 = Plan(Bottleneck, (3, 4, 6, 3), (64, 128, 256, 512), photo_stem=True, grid=1, smallest_side=32)
CIFAR_RESNET_20 = Plan(BasicBlock, (3, 3, 3), (16, 32, 64), photo_stem=False, grid=2, smallest_side=8)


class ResNet(CoreNetwork):
    """conv1, bn1, layer1 to layerN, fc: the names of public checkpoints."""

    def __init__(
        self, input_shape: tuple[int, ...], classes: int, generator: torch.Generator, *, plan: Plan, leaky: bool = False
    ) -> None:
        """Build for inputs (channels, height, width).

        Raises OutOfRange: not an image shape, or sides below the plan's smallest.
        """
        super().__init__()
        least = plan.smallest_side
        if len(input_shape) != 3 or min(input_shape[1:]) < least or input_shape[0] < 1:
            raise OutOfRange("input shape", input_shape, f"(channels, height >= {least}, width >= {least})")
        self.plan = plan
        self.act = rectifier(leaky)
        channels = plan.planes[0]
        kernel, stride = (7, 2) if plan.photo_stem else (3, 1)
        self.conv1 = convolution(input_shape[0], channels, kernel=kernel, stride=stride)
        self.bn1 = nn.BatchNorm2d(channels)
        self.stages: list[str] = []
        for number, (blocks, planes) in enumerate(zip(plan.blocks, plan.planes, strict=True), start=1):
            strides = [1 if number == 1 else 2] + [1] * (blocks - 1)
            built = []
            for step in strides:
                built.append(plan.block(channels, planes, step, leaky))
                channels = planes * plan.block.expansion
            self.add_module(f"layer{number}", nn.Sequential(*built))
            self.stages.append(f"layer{number}")
        self.fc = linear(channels, classes)
        draw_weights(self, generator)

    @property
    def output_layer(self) -> nn.Linear:
        """Return the layer that makes the logits."""
        return self.fc

    def activations(self, x: Tensor) -> Activations:
        """Return the stem, every stage, and the average that the output layer sees."""
        last = self.act(self.bn1(self.conv1(x)))
        if self.plan.photo_stem:
            last = functional.max_pool2d(last, kernel_size=3, stride=2, padding=1)
        pooled = [averaged(last, self.plan.grid)]
        for name in self.stages:
            last = self.get_submodule(name)(last)
            pooled.append(averaged(last, self.plan.grid))
        penultimate = averaged(last, 1)
        return Activations(tuple(pooled), penultimate, self.fc(penultimate))


def averaged(x: Tensor, grid: int) -> Tensor:
    """Return images (n, c, h, w) averaged over a raster, (n, c * grid * grid)."""
    return functional.adaptive_avg_pool2d(x, grid).flatten(1)
