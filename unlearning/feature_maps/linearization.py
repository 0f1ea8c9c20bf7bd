"""A network as a function of chosen parameters, around the values that they have, and these as one vector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

from unlearning.errors import NonFinite, OutOfRange, ShapeMismatch
from unlearning.feature_maps.cut_point import cut


@dataclass(frozen=True, slots=True, eq=False)
class Linearization:
    """logits = function(parameters, cached inputs): `module` with `parameters` free and `constants` fixed.

    Both are by their names in `module`, parameters in the order of their names, which is the order in the vector.
    `free` are the parameters' names in the network.
    """

    module: nn.Module
    free: tuple[str, ...]
    parameters: dict[str, Tensor]
    constants: dict[str, Tensor]

    @property
    def size(self) -> int:
        """Return k, how many numbers the parameters are."""
        return sum(value.numel() for value in self.parameters.values())

    def __call__(self, parameters: dict[str, Tensor], cached: Tensor) -> Tensor:
        """Return the logits (n, C). Not from several threads at once: torch exchanges the module's parameters."""
        logits: Tensor = functional_call(self.module, self.constants | parameters, (cached,))
        return logits

    def unflatten(self, vector: Tensor) -> dict[str, Tensor]:
        """Return a vector (k,) as parameters."""
        parts = torch.split(vector, [value.numel() for value in self.parameters.values()])
        return {
            name: part.reshape(value.shape) for part, (name, value) in zip(parts, self.parameters.items(), strict=True)
        }

    def flatten(self, parameters: dict[str, Tensor]) -> Tensor:
        """Return parameters as a vector (k,)."""
        return torch.cat([parameters[name].reshape(-1) for name in self.parameters])


def linearize_at(
    network: nn.Module,
    inputs: Tensor,
    parameters: Sequence[str] | None,
    *,
    dtype: torch.dtype,
    cut_early: bool,
    batch: int,
) -> tuple[Linearization, Tensor, int]:
    """Return the network as a function of the chosen parameters, what it is to be given (n, ...), and C.

    The network is put into evaluation mode: batch normalisation uses its running values, and is linear.
    Raises OutOfRange, NonFinite, ShapeMismatch: as `tangent_features.tangent_features`.
    """
    if not inputs.shape[0] or batch < 1:
        raise OutOfRange("records, batch", (inputs.shape[0], batch), ">= 1, >= 1")
    if not dtype.is_floating_point:
        raise OutOfRange("dtype", dtype, "a floating-point one")
    network.eval()
    free = chosen_parameters(network, parameters)
    state = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    values = {
        name: value.detach().to(dtype) if value.is_floating_point() else value.detach() for name, value in state.items()
    }
    check_finite("inputs", inputs)
    check_finite("parameters of the network", *(v for v in values.values() if v.is_floating_point()))
    module, prefix, cached = network, "", inputs.to(dtype)
    if cut_early:
        before, rest = cut(network, free)
        whole = Linearization(Before(network, before), (), {}, {f"network.{name}": v for name, v in values.items()})
        cached = torch.cat([whole({}, part) for part in torch.split(cached, batch)])
        module, prefix = rest, "network."
    found = Linearization(
        module,
        free,
        {prefix + name: values[name] for name in free},
        {prefix + name: value for name, value in values.items() if name not in free},
    )
    with torch.no_grad():
        trial: object = found(found.parameters, cached[:1])
    if not isinstance(trial, Tensor) or trial.ndim != 2 or trial.shape[0] != 1:
        got = tuple(trial.shape) if isinstance(trial, Tensor) else type(trial).__name__
        raise ShapeMismatch("output of the network", got, "(n, C)")
    return found, cached, int(trial.shape[1])


class Before(nn.Module):
    """What comes before a cut, with the network's parameters under their names behind `network.`."""

    def __init__(self, network: nn.Module, run: object) -> None:
        """Keep the network and what runs."""
        super().__init__()
        self.network = network
        self.run = run

    def forward(self, x: Tensor) -> Tensor:
        """Return the activations at the cut."""
        assert callable(self.run)
        cached: Tensor = self.run(x)
        return cached


def chosen_parameters(network: nn.Module, wanted: Sequence[str] | None) -> tuple[str, ...]:
    """Return the names of the chosen parameters, sorted. Each of `wanted` is a parameter or a module; None is all.

    Raises OutOfRange: nothing is chosen, or a name that the network does not have.
    """
    names = sorted(name for name, _ in network.named_parameters())
    if wanted is None:
        chosen = names
    else:
        for one in wanted:
            if not any(name == one or name.startswith(f"{one}.") for name in names):
                raise OutOfRange(
                    "linearized parameter", repr(one), "a parameter of the network, or a module that has one"
                )
        chosen = [name for name in names if any(name == one or name.startswith(f"{one}.") for one in wanted)]
    if not chosen:
        raise OutOfRange("linearized parameters", 0, ">= 1")
    return tuple(chosen)


def check_finite(name: str, *tensors: Tensor) -> None:
    """Raise NonFinite."""
    broken = sum(tensor.numel() - int(torch.count_nonzero(torch.isfinite(tensor))) for tensor in tensors)
    if broken:
        raise NonFinite(name, broken)
