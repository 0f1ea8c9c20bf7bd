"""The top of the core Fisher's Kronecker eigenbasis, as a public subspace of the parameters.

Source: Martens and Grosse 2015, "Optimizing neural networks with Kronecker-factored approximate curvature", section 3;
Grosse and Martens 2016, "A Kronecker-factored approximate Fisher matrix for convolution layers", theorem 1. A layer's
block is approximated by A (x) G, A = E sum_s a_s a_s^T and G = E mean_s sum_c g_cs g_cs^T over positions s and outputs
c; its eigenvectors are products of theirs. The likelihood is the one of the user weights' squared loss, so the outputs'
Hessian is the identity. All from core records: users' data never move the basis.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from unlearning.architectures import CoreNetwork
from unlearning.errors import OutOfRange
from unlearning.feature_maps.layer_calls import LayerCalls, LayerInput, watch
from unlearning.feature_maps.subspace import OUTPUTS_TOGETHER, Block, gradients

MOMENT_RECORDS = 1000
"""Core records that second moments are measured on at most, drawn at random."""
MOMENT_BATCH = 32


@dataclass(slots=True)
class Moments:
    """Sums over core records, by parameter: inputs (p, p), none for a bias, and gradients (o, o), in float64."""

    inputs: dict[str, Tensor] = field(default_factory=dict)
    gradients: dict[str, Tensor] = field(default_factory=dict)


def core_moments(network: CoreNetwork, parameters: Sequence[str], core_inputs: Tensor) -> Moments:
    """Measure the layers of the named parameters on prepared core inputs (n, *input_shape).

    A parameter with which no layer is called, see `layer_calls.layer_parameters`, has no moments.
    """
    found = Moments()
    watched = watch(network, frozenset(parameters))
    for batch in torch.split(core_inputs, MOMENT_BATCH):
        records = batch.shape[0]

        def keep(_name: str, seen: LayerInput, records: int = records) -> Tensor:
            size = torch.Size(seen.kernel_shape).numel()
            patches = seen.times(torch.eye(size), records).flatten(0, 1).double()
            return patches.mT @ patches

        recorder = LayerCalls(watched, keep)
        with torch.enable_grad():
            with recorder:
                logits = network.activations(batch).logits
            if not recorder.calls:
                return found
            for call in recorder.calls:
                if call.weight is not None and call.kept is not None:
                    add(found.inputs, call.weight, call.kept)
            for some in torch.split(torch.arange(logits.shape[1]), OUTPUTS_TOGETHER):
                for call, gradient in zip(recorder.calls, gradients(logits, some, recorder.calls), strict=True):
                    if call.weight is not None:
                        each = gradient.flatten(0, 2).double()
                        add(found.gradients, call.weight, each.mT @ each / gradient.shape[2])
                    if call.bias is not None:
                        whole = gradient.sum(2).flatten(0, 1).double()
                        add(found.gradients, call.bias, whole.mT @ whole)
    return found


def add(sums: dict[str, Tensor], name: str, value: Tensor) -> None:
    """Add to the sum of this name."""
    sums[name] = sums[name] + value if name in sums else value


def kronecker_blocks(
    network: CoreNetwork, parameters: Sequence[str], core_inputs: Tensor, width: int, generator: torch.Generator
) -> list[Block]:
    """Return the `width` directions with the largest products of eigenvalues over all layers of these parameters.

    `generator` draws the core records that are measured where there are many.
    Raises OutOfRange: fewer directions than `width`.
    """
    order = torch.randperm(core_inputs.shape[0], generator=generator)[:MOMENT_RECORDS]
    moments = core_moments(network, parameters, core_inputs[order])
    names = [name for name in parameters if name in moments.gradients]
    sides = {name: eigenbases(moments, name) for name in names}
    products = [torch.outer(inputs[0], outputs[0]).flatten() for inputs, outputs in sides.values()]
    available = sum(int(values.shape[0]) for values in products)
    if not 1 <= width <= available:
        raise OutOfRange("width of tangent", width, f"1 to {available}, the linearized parameters")
    # Stable, so that equal products are taken in the parameters' order on every machine.
    chosen = torch.sort(torch.cat(products), descending=True, stable=True).indices[:width]
    blocks, start = [], 0
    for name, values in zip(names, products, strict=True):
        own = chosen[(chosen >= start) & (chosen < start + values.shape[0])] - start
        start += values.shape[0]
        if own.numel():
            blocks.append(cut(name, sides[name][0][1], sides[name][1][1], own.sort().values))
    return blocks


Side = tuple[Tensor, Tensor]
"""Eigenvalues (p,), largest first, and eigenvectors as columns (p, p)."""


def eigenbases(moments: Moments, name: str) -> tuple[Side, Side]:
    """Return the eigenvectors of a layer's two moments; those of a bias's one input are [[1]]."""
    one: Side = (torch.ones(1, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64))
    return (eigenbasis(moments.inputs[name]) if name in moments.inputs else one), eigenbasis(moments.gradients[name])


def eigenbasis(moment: Tensor) -> Side:
    """Return eigenvalues and eigenvectors, largest first; each vector's largest entry is positive."""
    values, vectors = torch.linalg.eigh(moment)
    largest = vectors.gather(0, vectors.abs().argmax(dim=0, keepdim=True))
    return values.flip(0).clamp_min(0.0), (vectors * largest.sign()).flip(1)


def cut(name: str, inputs: Tensor, outputs: Tensor, pairs: Tensor) -> Block:
    """Return a block with the ranks that its pairs reach; `pairs` number products of whole bases."""
    first, second = pairs // outputs.shape[1], pairs % outputs.shape[1]
    left, right = int(first.max()) + 1, int(second.max()) + 1
    return Block(
        name, inputs[:, :left].float().contiguous(), outputs[:, :right].float().contiguous(), first * right + second
    )
