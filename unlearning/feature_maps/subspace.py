"""A public subspace of a network's parameters, layer by layer, and the Jacobian's restriction to it.

For a layer whose weight is M (o, p), with inputs a_s (p,) and gradients g_s (o,) of one output at its positions s, the
Jacobian's block is sum_s g_s a_s^T. Along the directions v_j u_i^T, u_i a column of U (p, r), v_j one of V (o, q), it
is sum_s (V^T g_s)(a_s^T U): neither the block nor the directions are ever formed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unlearning.architectures import CoreNetwork
from unlearning.errors import OutOfRange, ShapeMismatch
from unlearning.feature_maps.layer_calls import LayerCall, LayerCalls, LayerInput, padded, watch

OUTPUTS_TOGETHER = 10
"""Backward passes at once, which bounds the memory."""


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Directions in one parameter: `pairs` (m,) int64 of the r * q products of inputs (p, r) and outputs (o, q).

    Pair i * q + j is the direction outputs[:, j] inputs[:, i]^T. A bias is a layer whose one input is 1.
    """

    parameter: str
    inputs: Tensor
    outputs: Tensor
    pairs: Tensor

    def __post_init__(self) -> None:
        """Raise ShapeMismatch: parts that do not fit together; OutOfRange: a pair that does not exist."""
        if self.inputs.ndim != 2 or self.outputs.ndim != 2 or self.pairs.ndim != 1 or self.pairs.dtype != torch.int64:
            got = (tuple(self.inputs.shape), tuple(self.outputs.shape), tuple(self.pairs.shape))
            raise ShapeMismatch(f"directions in {self.parameter}", got, "(p, r), (o, q), (m,) int64")
        products = self.inputs.shape[1] * self.outputs.shape[1]
        if not self.pairs.numel() or not 0 <= int(self.pairs.min()) <= int(self.pairs.max()) < products:
            raise OutOfRange(f"pairs of {self.parameter}", self.pairs.numel(), f"one or more of 0 to {products - 1}")

    @property
    def width(self) -> int:
        """m."""
        return int(self.pairs.shape[0])

    def project(self, kept: Tensor | None, gradient: Tensor) -> Tensor:
        """Return features (c, n, m) of c outputs, from a^T U (n, s, r), None for a bias, and g (c, n, s, o)."""
        outputs, columns = padded(self.outputs), self.outputs.shape[1]
        if kept is None:
            return (gradient.sum(2) @ outputs)[..., self.pairs]
        return (kept.mT @ (gradient @ outputs)[..., :columns]).flatten(2)[..., self.pairs]


def restricted(network: CoreNetwork, blocks: Sequence[Block], inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Return J(x) U (n, C, k), in the blocks' order, and the logits (n, C) of prepared inputs.

    One forward pass, and one backward pass per output, several at once, to the first layer with a direction. Safe from
    several threads.
    Raises ShapeMismatch: the network has no such layer, or one of another size.
    """
    by_name = {block.parameter: block for block in blocks}
    check_parameters(network, by_name)
    records = inputs.shape[0]

    def keep(name: str, seen: LayerInput) -> Tensor:
        return seen.times(by_name[name].inputs, records)

    recorder = LayerCalls(watch(network, frozenset(by_name)), keep)
    with torch.enable_grad():
        with recorder:
            logits = network.activations(inputs).logits
        check_reached(recorder.calls, by_name)
        outputs = logits.shape[1]
        phi = logits.new_zeros(records, outputs, sum(block.width for block in blocks))
        places, position = {}, 0
        for block in blocks:
            places[block.parameter] = slice(position, position + block.width)
            position += block.width
        for some in torch.split(torch.arange(outputs), OUTPUTS_TOGETHER):
            for call, gradient in zip(recorder.calls, gradients(logits, some, recorder.calls), strict=True):
                for name, kept in ((call.weight, call.kept), (call.bias, None)):
                    if name is not None:
                        found = by_name[name].project(kept, gradient)
                        phi[:, int(some[0]) : int(some[-1]) + 1, places[name]] += found.transpose(0, 1)
    return phi, logits.detach()


def gradients(logits: Tensor, chosen: Tensor, calls: Sequence[LayerCall]) -> list[Tensor]:
    """Return the gradients of some logits, of each record by itself, in every layer's output: (c, n, positions, o)."""
    records, outputs = logits.shape
    ones = torch.eye(outputs, dtype=logits.dtype)[chosen].unsqueeze(1).expand(-1, records, -1)
    last = int(chosen[-1]) + 1 == outputs
    found = torch.autograd.grad(
        logits,
        [call.output for call in calls],
        ones,
        retain_graph=not last,
        allow_unused=True,
        is_grads_batched=True,
    )
    made = []
    for call, gradient in zip(calls, found, strict=True):
        known = call.output.new_zeros(len(chosen), *call.output.shape) if gradient is None else gradient
        by_layer = call.by_position(known.flatten(0, 1), len(chosen) * records)
        made.append(by_layer.reshape(len(chosen), records, *by_layer.shape[1:]))
    return made


def check_parameters(network: CoreNetwork, by_name: dict[str, Block]) -> None:
    """Raise ShapeMismatch: a direction's parameter that the network does not have, or has in another size."""
    parameters = dict(network.named_parameters())
    for name, block in by_name.items():
        shape = tuple(parameters[name].shape) if name in parameters else None
        wanted = (block.outputs.shape[0], block.inputs.shape[0])
        if shape is None or (shape[0], parameters[name][0].numel()) != wanted:
            raise ShapeMismatch(f"parameter {name} of the network", shape, f"{wanted}")


def check_reached(calls: Sequence[LayerCall], by_name: dict[str, Block]) -> None:
    """Raise ShapeMismatch: a parameter that no linear layer, convolution or batch normalisation is called with."""
    used = {name for call in calls for name in (call.weight, call.bias)}
    if missing := sorted(set(by_name) - used):
        raise ShapeMismatch(f"uses of {missing[0]} as a layer's parameter", 0, "one or more")
