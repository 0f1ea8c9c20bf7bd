"""all-cnn: convolutions only, for images of about 32x32.

Source: Springenberg et al. 2015, "Striving for simplicity: the all convolutional net", table 1, model C. Its last
1x1 convolution followed by an average over the image equals the average followed by a linear layer, which is how it
stands here, so that there is a penultimate layer. Differences: BatchNorm instead of dropout, padding everywhere.
"""

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
from unlearning.errors import OutOfRange

LAYERS = ((96, 3, 1), (96, 3, 1), (96, 3, 2), (192, 3, 1), (192, 3, 1), (192, 3, 2), (192, 3, 1), (192, 1, 1))
"""(channels, kernel, stride) of each convolution."""
POOLED = (2, 5, 7)
"""The layers that the feature maps see: the last one of every resolution."""
GRID = 2
SMALLEST_SIDE = 8


class AllCnn(CoreNetwork):
    """Eight times convolution, BatchNorm, ReLU; then the average over the image and the output layer."""

    def __init__(
        self, input_shape: tuple[int, ...], classes: int, generator: torch.Generator, *, leaky: bool = False
    ) -> None:
        """Build for inputs (channels, height, width), both sides at least 8.

        Raises OutOfRange: not an image shape, or too small to be halved twice.
        """
        super().__init__()
        if len(input_shape) != 3 or min(input_shape[1:]) < SMALLEST_SIDE or input_shape[0] < 1:
            raise OutOfRange("input shape of all-cnn", input_shape, "(channels, height >= 8, width >= 8)")
        channels_in = (input_shape[0], *(channels for channels, _, _ in LAYERS[:-1]))
        self.convolutions = nn.ModuleList(
            convolution(before, after, kernel=kernel, stride=stride)
            for before, (after, kernel, stride) in zip(channels_in, LAYERS, strict=True)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels) for channels, _, _ in LAYERS)
        self.output = linear(LAYERS[-1][0], classes)
        self.act = rectifier(leaky)
        draw_weights(self, generator)

    @property
    def output_layer(self) -> nn.Linear:
        """Return the layer that makes the logits."""
        return self.output

    def activations(self, x: Tensor) -> Activations:
        """Return three layers, averaged over a raster, and the average over the image."""
        last, pooled = x, []
        for number, (convolve, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            last = self.act(norm(convolve(last)))
            if number in POOLED:
                pooled.append(functional.adaptive_avg_pool2d(last, GRID).flatten(1))
        penultimate = functional.adaptive_avg_pool2d(last, 1).flatten(1)
        return Activations(tuple(pooled), penultimate, self.output(penultimate))
