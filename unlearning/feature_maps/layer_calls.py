"""What a network's layers see and make in one pass, without hooks, so that several threads may look at one network.

A mode of torch watches every call of linear, convolution and batch normalisation in its own thread, and tells the
layers apart by the parameters that they are called with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from unlearning.architectures import CoreNetwork

CONVOLUTION = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
MANY = 16
"""Columns that the linear algebra library handles alike for every row, as measured; `is_row_invariant` tests it."""
ARGUMENTS: Mapping[object, tuple[str, ...]] = {
    functional.linear: CONVOLUTION[:3],
    functional.conv1d: CONVOLUTION,
    functional.conv2d: CONVOLUTION,
    functional.batch_norm: ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps"),
}


@dataclass(frozen=True, slots=True, eq=False)
class LayerInput:
    """The input of a linear layer or of a convolution with one group, and how the layer multiplies it."""

    function: Callable[..., Tensor]
    input: Tensor
    geometry: Mapping[str, Any]
    kernel_shape: tuple[int, ...]

    def times(self, columns: Tensor, records: int) -> Tensor:
        """Return a^T V, (n, positions, r), where a are the inputs of each position, of columns V (p, r).

        For a convolution a is the patch under the kernel. It is not cut out: V is used as r kernels.
        """
        kernels = padded(columns.to(self.input.dtype)).mT.reshape(-1, *self.kernel_shape)
        made = by_position(self.function(self.input, kernels, **self.geometry), self.function, records)
        return made[..., : columns.shape[1]]


@dataclass(frozen=True, slots=True, eq=False)
class LayerCall:
    """One use of a layer: the watched parameters' names, what was kept of its input, and its output in the graph."""

    weight: str | None
    bias: str | None
    kept: Tensor | None
    function: object
    output: Tensor

    def by_position(self, gradient: Tensor, records: int) -> Tensor:
        """Return a gradient in the output, of so many records, as (n, positions, o)."""
        return by_position(gradient, self.function, records)


def padded(columns: Tensor) -> Tensor:
    """Return a matrix with columns of zeros up to the next multiple of MANY.

    Products with few columns run code whose last bits depend on a record's row; ingestion must not (`extraction.py`).
    """
    return functional.pad(columns, (0, -columns.shape[1] % MANY))


def by_position(values: Tensor, function: object, records: int) -> Tensor:
    """Return what a layer made, (n, positions, channels), whatever the order of its dimensions."""
    if function is not functional.linear and values.ndim > 2:
        values = values.flatten(2).mT
    return values.reshape(records, -1, values.shape[-1])


Keep = Callable[[str, LayerInput], Tensor]
"""What to keep of the input of the layer with this weight."""


class LayerCalls(TorchFunctionMode):
    """Within this context, the calls of layers whose parameters are watched, in order, in this thread.

    `watched` are names by the parameters' identity, see `watch`. The graph starts at the first of these calls: what
    comes before it is constant. `keep` is asked at the call, because the input may be overwritten afterwards.
    """

    def __init__(self, watched: Mapping[int, str], keep: Keep) -> None:
        """Start with no call."""
        super().__init__()
        self.watched = watched
        self.keep = keep
        self.calls: list[LayerCall] = []

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Do what was called, and look."""
        output = function(*args, **(kwargs or {}))
        names = ARGUMENTS.get(function)
        if names is None:
            return output
        given = dict(zip(names, args, strict=False)) | (kwargs or {})
        bias = self.watched.get(id(given.get("bias")))
        weight = None
        if function is not functional.batch_norm and given.get("groups", 1) == 1:
            weight = self.watched.get(id(given["weight"]))
        if weight is None and bias is None:
            return output
        if not self.calls:
            output = output.detach().requires_grad_()
        kept = None
        if weight is not None:
            geometry = {name: value for name, value in given.items() if name not in CONVOLUTION[:3]}
            with torch.no_grad():
                seen = LayerInput(function, given["input"], geometry, tuple(given["weight"].shape[1:]))
                kept = self.keep(weight, seen)
        self.calls.append(LayerCall(weight, bias, kept, function, output))
        # A copy goes on: a later operation may overwrite it, and gradients are asked of the output as it is here.
        return output.clone()


def watch(network: nn.Module, names: frozenset[str]) -> dict[int, str]:
    """Return the chosen parameters' names by their identity."""
    return {id(parameter): name for name, parameter in network.named_parameters() if name in names}


def layer_parameters(network: CoreNetwork, names: Sequence[str], inputs: Tensor) -> tuple[str, ...]:
    """Return those of the named parameters that a layer is called with as its weight or bias, on these inputs.

    Others are left out: the scales of normalisations, and whatever an operator's own layers multiply by.
    """
    recorder = LayerCalls(watch(network, frozenset(names)), lambda _name, seen: seen.input)
    with torch.no_grad(), recorder:
        network.activations(inputs)
    used = {name for call in recorder.calls for name in (call.weight, call.bias)}
    return tuple(name for name in names if name in used)
