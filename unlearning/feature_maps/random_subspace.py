"""A seeded random subspace of the parameters, layer by layer: it needs nothing of the core but the network."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from unlearning.architectures import CoreNetwork
from unlearning.errors import OutOfRange
from unlearning.feature_maps.subspace import Block


def random_blocks(
    network: CoreNetwork, parameters: Sequence[str], width: int, generator: torch.Generator
) -> list[Block]:
    """Return `width` random orthonormal directions, shared out evenly over the layers, as far as these have room.

    A layer's r * q >= m products are those of two random orthonormal bases, about as many of inputs as of outputs.
    Raises OutOfRange: fewer directions than `width`.
    """
    sizes = {name: sides(network, name) for name in parameters}
    available = sum(inputs * outputs for inputs, outputs in sizes.values())
    if not 1 <= width <= available:
        raise OutOfRange("width of tangent-random", width, f"1 to {available}, the linearized parameters")
    shares = evenly(width, {name: inputs * outputs for name, (inputs, outputs) in sizes.items()})
    blocks = []
    for name, share in shares.items():
        inputs, outputs = sizes[name]
        right = min(outputs, math.ceil(math.sqrt(share)))
        left = min(inputs, math.ceil(share / right))
        right = math.ceil(share / left)
        blocks.append(
            Block(
                name,
                orthonormal(inputs, left, generator),
                orthonormal(outputs, right, generator),
                torch.arange(share, dtype=torch.int64),
            )
        )
    return blocks


def sides(network: CoreNetwork, name: str) -> tuple[int, int]:
    """Return (p, o): a layer's inputs at a position, 1 for a bias, and its outputs."""
    parameter = network.get_parameter(name)
    return int(parameter[0].numel()), int(parameter.shape[0])


def evenly(total: int, room: dict[str, int]) -> dict[str, int]:
    """Return how many each gets: as equal as its room allows, the first ones one more; who gets none is left out."""
    shares = dict.fromkeys(room, 0)
    while total:
        open_to_more = [name for name in room if shares[name] < room[name]]
        each, more = divmod(total, len(open_to_more))
        for place, name in enumerate(open_to_more):
            given = min(each + (place < more), room[name] - shares[name])
            shares[name] += given
            total -= given
    return {name: share for name, share in shares.items() if share}


def orthonormal(size: int, columns: int, generator: torch.Generator) -> Tensor:
    """Return (size, columns) float32, the orthonormalised columns of a Gaussian matrix drawn in float64."""
    drawn = torch.randn(size, columns, generator=generator, dtype=torch.float64)
    basis: Tensor = torch.linalg.qr(drawn).Q
    return basis.float().contiguous()
