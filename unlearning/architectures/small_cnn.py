"""A small convolutional network for images from 8x8 to about 64x64."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from unlearning.architectures.core_network import LEAK, Activations, CoreNetwork, convolution, draw_weights, linear
from unlearning.errors import OutOfRange

CHANNELS = (32, 64, 128)
PENULTIMATE = 128
GRID = 2
"""Each layer is averaged over a GRID x GRID raster, which keeps where in the image something was seen."""
INPUT_GRID = 4


class SmallCnn(CoreNetwork):
    """Three blocks convolution, BatchNorm, LeakyReLU, halving; then one hidden linear layer."""

    def __init__(self, input_shape: tuple[int, ...], classes: int, generator: torch.Generator) -> None:
        """Build for inputs (channels, height, width), both sides at least 8.

        Raises OutOfRange: not an image shape, or too small to be halved three times.
        """
        super().__init__()
        if len(input_shape) != 3 or min(input_shape[1:]) < 2 ** len(CHANNELS) or input_shape[0] < 1:
            raise OutOfRange("input shape of small-cnn", input_shape, "(channels, height >= 8, width >= 8)")
        channels_in = (input_shape[0], *CHANNELS[:-1])
        self.convolutions = nn.ModuleList(convolution(a, b) for a, b in zip(channels_in, CHANNELS, strict=True))
        self.norms = nn.ModuleList(nn.BatchNorm2d(c) for c in CHANNELS)
        self.hidden = linear(CHANNELS[-1] * GRID * GRID, PENULTIMATE)
        self.hidden_norm = nn.BatchNorm1d(PENULTIMATE)
        self.output = linear(PENULTIMATE, classes)
        draw_weights(self, generator)

    @property
    def output_layer(self) -> nn.Linear:
        """Return the layer that makes the logits."""
        return self.output

    def activations(self, x: Tensor) -> Activations:
        """Return input, block and hidden activations; blocks are averaged over the raster before the halving."""
        pooled = [functional.adaptive_avg_pool2d(x, INPUT_GRID).flatten(1)]
        last = x
        for convolve, norm in zip(self.convolutions, self.norms, strict=True):
            last = functional.leaky_relu(norm(convolve(last)), LEAK)
            pooled.append(functional.adaptive_avg_pool2d(last, GRID).flatten(1))
            last = functional.max_pool2d(last, 2)
        hidden = functional.leaky_relu(self.hidden_norm(self.hidden(pooled[-1])), LEAK)
        return Activations((*pooled, hidden), hidden, self.output(hidden))
