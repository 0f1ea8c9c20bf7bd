"""What every core network offers: logits, and the activations a feature map reads."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

LEAK = 0.1
"""Negative slope of the Leaky-ReLU in networks that were made with one."""
OPTIONAL_LEAK = 0.01
"""Negative slope of the Leaky-ReLU that the option `leaky` puts in the place of ReLU."""


@dataclass(frozen=True, slots=True)
class Activations:
    """One forward pass over n records.

    pooled: one (n, w_i) tensor per layer, from the input to the last block.
    penultimate: (n, h), the input of the last linear layer.
    logits: (n, C).
    """

    pooled: tuple[Tensor, ...]
    penultimate: Tensor
    logits: Tensor


class CoreNetwork(nn.Module):
    """A classifier f_c: X -> R^C trained on core data only.

    Subclasses build their layers, call `draw_weights` and implement `activations` and `output_layer`.
    """

    @property
    def named(self) -> nn.Module:
        """Return the module whose parameter names a file of weights has: this one, unless it wraps another."""
        return self

    @property
    def output_layer(self) -> nn.Linear:
        """Return the linear layer that makes the logits from the penultimate activations."""
        raise NotImplementedError

    def activations(self, x: Tensor) -> Activations:
        """Return the activations of prepared inputs x (n, *input_shape), float32."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits (n, C)."""
        return self.activations(x).logits


def draw_weights(network: nn.Module, generator: torch.Generator) -> None:
    """Fill every convolution and linear layer from `generator` alone.

    Weights are normal with standard deviation gain / sqrt(fan-in), biases zero.

    Source: He et al. 2015, eq. 14, with the LeakyReLU gain sqrt(2 / (1 + LEAK^2)) (eq. 15).
    """
    gain = math.sqrt(2.0 / (1.0 + LEAK**2))
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                fan_in = layer.weight[0].numel()
                layer.weight.normal_(0.0, gain / math.sqrt(fan_in), generator=generator)
                if layer.bias is not None:
                    layer.bias.zero_()


def linear(inputs: int, outputs: int) -> nn.Linear:
    """Return a linear layer whose weights are not drawn yet, so that no global random state is touched."""
    return nn.Linear(inputs, outputs, device="meta").to_empty(device="cpu")


def convolution(inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1) -> nn.Conv2d:
    """Return a square convolution without bias, padded by (kernel - 1) / 2, whose weights are not drawn yet."""
    layer = nn.Conv2d(
        inputs, outputs, kernel_size=kernel, stride=stride, padding=kernel // 2, bias=False, device="meta"
    )
    return layer.to_empty(device="cpu")


def rectifier(leaky: bool) -> Callable[[Tensor], Tensor]:
    """Return ReLU, or Leaky-ReLU with slope OPTIONAL_LEAK. A function: it adds no name to the state dict."""
    return leaky_relu if leaky else functional.relu


def leaky_relu(x: Tensor) -> Tensor:
    """Return max(x, OPTIONAL_LEAK * x)."""
    return functional.leaky_relu(x, OPTIONAL_LEAK)
