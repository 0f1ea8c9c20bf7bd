"""The rival of every linear map: the last layers of the core network, trained on users' records as a network.

Training starts at the core's own layers and uses the recipe of the core (cross-entropy, AdamW, one cycle). What lies
before the trained layers is computed once, so that an epoch costs only the trained layers.
"""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional

from unlearning.architectures.core_network import LEAK, Activations, CoreNetwork
from unlearning.architectures.small_cnn import GRID, SmallCnn
from unlearning.core_training import train_core

HIDDEN, BLOCK = "hidden", "block"
"""Which layers are trained: the hidden and the output layer, or the last convolution with its norm as well."""
BATCH = 512


class Tail(CoreNetwork):
    """Copies of the last layers of a small-cnn, in float32, on top of cached activations."""

    def __init__(self, network: SmallCnn, scope: str) -> None:
        """Copy the layers of `scope`, HIDDEN or BLOCK."""
        super().__init__()
        self.scope = scope
        block = [network.convolutions[-1], network.norms[-1]] if scope == BLOCK else []
        self.block = nn.ModuleList(copy.deepcopy(layer) for layer in block)
        self.hidden, self.hidden_norm = copy.deepcopy(network.hidden), copy.deepcopy(network.hidden_norm)
        self.output = copy.deepcopy(network.output)

    @property
    def output_layer(self) -> nn.Linear:
        """Return the layer that makes the logits."""
        return self.output

    def activations(self, x: Tensor) -> Activations:
        """Return the activations from the cut on."""
        last = x
        if self.block:
            convolve, norm = self.block
            last = functional.adaptive_avg_pool2d(functional.leaky_relu(norm(convolve(x)), LEAK), GRID).flatten(1)
        hidden = functional.leaky_relu(self.hidden_norm(self.hidden(last)), LEAK)
        return Activations((last, hidden), hidden, self.output(hidden))


def below(network: CoreNetwork, inputs: Tensor, activations: Activations, scope: str) -> Tensor:
    """Return what enters the layers of `scope`, for records whose activations are known."""
    assert isinstance(network, SmallCnn)
    if scope == HIDDEN:
        return activations.pooled[-2]
    parts = []
    with torch.inference_mode():
        for batch in torch.split(inputs, BATCH):
            last = batch
            for convolve, norm in zip(network.convolutions[:-1], network.norms[:-1], strict=True):
                last = functional.max_pool2d(functional.leaky_relu(norm(convolve(last)), LEAK), 2)
            parts.append(last)
    return torch.cat(parts)


def fine_tune(
    network: CoreNetwork, scope: str, x: Tensor, y: Tensor, *, epochs: int, learning_rate: float, seed: int
) -> Tail:
    """Return trained copies of the layers of `scope`; x (n, ...) enters them, y (n,) are labels."""
    assert isinstance(network, SmallCnn)
    tail = Tail(network, scope)
    if len(y) >= 2:
        generator = torch.Generator().manual_seed(seed)
        # A clone: what inference mode made cannot be used in training.
        train_core(tail, x.clone(), y, epochs=epochs, learning_rate=learning_rate, generator=generator)
    return tail.eval()


def tail_logits(tail: Tail, x: Tensor) -> Tensor:
    """Return logits (n, C) in float64."""
    with torch.inference_mode():
        return torch.cat([tail(batch) for batch in torch.split(x, BATCH)]).double()
