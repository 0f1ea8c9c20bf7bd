"""A two-layer perceptron for tables."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from unlearning.architectures.core_network import LEAK, Activations, CoreNetwork, draw_weights, linear
from unlearning.errors import OutOfRange

WIDTHS = (128, 128)


class Mlp(CoreNetwork):
    """Two blocks linear, BatchNorm, LeakyReLU; then the output layer."""

    def __init__(self, input_shape: tuple[int, ...], classes: int, generator: torch.Generator) -> None:
        """Build for rows of p columns, input shape (p,).

        Raises OutOfRange: the input shape is not (p,) with p >= 1.
        """
        super().__init__()
        if len(input_shape) != 1 or input_shape[0] < 1:
            raise OutOfRange("input shape of mlp", input_shape, "(columns,)")
        inputs = (input_shape[0], *WIDTHS[:-1])
        self.linears = nn.ModuleList(linear(a, b) for a, b in zip(inputs, WIDTHS, strict=True))
        self.norms = nn.ModuleList(nn.BatchNorm1d(w) for w in WIDTHS)
        self.output = linear(WIDTHS[-1], classes)
        draw_weights(self, generator)

    @property
    def output_layer(self) -> nn.Linear:
        """Return the layer that makes the logits."""
        return self.output

    def activations(self, x: Tensor) -> Activations:
        """Return the columns themselves and both hidden layers."""
        pooled = [x]
        for layer, norm in zip(self.linears, self.norms, strict=True):
            pooled.append(functional.leaky_relu(norm(layer(pooled[-1])), LEAK))
        return Activations(tuple(pooled), pooled[-1], self.output(pooled[-1]))
