"""An operator's own network as a core network: hooks read its layers, nothing in it has to be changed."""

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from unlearning.architectures.core_network import OPTIONAL_LEAK, Activations, CoreNetwork
from unlearning.errors import ArchitectureRefused

Factory = Callable[[tuple[int, ...], int], nn.Module]
"""(input shape of one record, classes) -> a module that turns (n, *input_shape) float32 into logits (n, classes)."""

LEAVES = (nn.Conv1d, nn.Conv2d, nn.Linear)
FOREIGN = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What somebody else's code may raise when it is given a shape that it was not made for."""
TRIAL_RECORDS = 2


class Seen(threading.local):
    """What the hooks saw in this thread's forward pass; None outside of one, when they look away."""

    layers: list[Tensor] | None = None
    last: tuple[Tensor, Tensor] | None = None


class WrappedNetwork(CoreNetwork):
    """`module` with hooks: its leaf convolutions and linear layers are pooled, the last linear layer's input is kept.

    A module that has an attribute `pooled_stages` (names of submodules) has the outputs of those pooled instead.
    Outputs (n, c, ...) of convolutions and stages are averaged over space.
    """

    def __init__(self, name: str, module: nn.Module, input_shape: tuple[int, ...], classes: int) -> None:
        """Wrap, and try it on zeros.

        Raises ArchitectureRefused: its output is not (n, classes) float32, or does not come from a linear layer.
        """
        super().__init__()
        self.module = module
        self.seen = Seen()
        self.last_name = ""
        output = self._try(name, input_shape)
        if not isinstance(output, Tensor) or output.shape != (TRIAL_RECORDS, classes) or output.dtype != torch.float32:
            raise ArchitectureRefused(name, f"its output is {described(output)}, not (n, {classes}) float32")
        if not self.last_name:
            raise ArchitectureRefused(name, "its output is not what its last linear layer makes of (n, width) inputs")

    def _try(self, name: str, input_shape: tuple[int, ...]) -> object:
        """Return the output for zeros, having found the last linear layer and put every hook in place."""
        order: list[tuple[str, Tensor, Tensor]] = []
        hooks = [
            layer.register_forward_hook(lambda _, inputs, output, found=found: order.append((found, inputs[0], output)))
            for found, layer in self.module.named_modules()
            if isinstance(layer, nn.Linear)
        ]
        self.module.eval()
        try:
            with torch.inference_mode():
                output: object = self.module(torch.zeros(TRIAL_RECORDS, *input_shape))
            layers = self._pooled_layers(order[-1][0] if order else "")
        except FOREIGN as problem:
            raise ArchitectureRefused(name, f"it cannot take {input_shape}: {problem}") from problem
        finally:
            for hook in hooks:
                hook.remove()
        if order and order[-1][1].ndim == 2 and isinstance(output, Tensor) and order[-1][2].equal(output):
            self.last_name = order[-1][0]
            self.output_layer.register_forward_hook(self._keep_last)
            for layer in layers:
                layer.register_forward_hook(self._keep_layer)
        return output

    def _pooled_layers(self, last: str) -> list[nn.Module]:
        stages = getattr(self.module, "pooled_stages", None)
        if stages is not None:
            return [self.module.get_submodule(str(stage)) for stage in stages]
        return [layer for found, layer in self.module.named_modules() if isinstance(layer, LEAVES) and found != last]

    def _keep_layer(self, _layer: nn.Module, _inputs: object, output: Tensor) -> None:
        if self.seen.layers is not None:
            self.seen.layers.append(pooled(output))

    def _keep_last(self, _layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if self.seen.layers is not None:
            self.seen.last = (inputs[0], output)

    @property
    def named(self) -> nn.Module:
        """Return the wrapped module."""
        return self.module

    @property
    def output_layer(self) -> nn.Linear:
        """Return the wrapped module's last linear layer."""
        layer = self.module.get_submodule(self.last_name)
        assert isinstance(layer, nn.Linear)
        return layer

    def activations(self, x: Tensor) -> Activations:
        """Return what the hooks saw. Safe from several threads."""
        with self._looking():
            logits: Tensor = self.module(x)
            assert self.seen.layers is not None
            assert self.seen.last is not None
            layers, penultimate = self.seen.layers, self.seen.last[0]
        return Activations((*layers, penultimate), penultimate, logits)

    @contextmanager
    def _looking(self) -> Iterator[None]:
        self.seen.layers = []
        try:
            yield
        finally:
            self.seen.layers, self.seen.last = None, None


def pooled(output: Tensor) -> Tensor:
    """Return (n, c) from (n, c), (n, tokens, c) or (n, c, height, width)."""
    if output.ndim == 3:
        return output.mean(dim=1)
    return output if output.ndim == 2 else output.flatten(2).mean(dim=2)


def described(output: object) -> str:
    """Return an output's shape and type in words."""
    if not isinstance(output, Tensor):
        return f"a {type(output).__name__}"
    return f"{tuple(output.shape)} {str(output.dtype).removeprefix('torch.')}"


def wrap(
    name: str, factory: Factory, input_shape: tuple[int, ...], classes: int, generator: torch.Generator, *, leaky: bool
) -> WrappedNetwork:
    """Call an operator's factory and wrap what it makes, in training mode.

    Whatever the factory draws follows from `generator`; the global random state is put back afterwards.
    Raises ArchitectureRefused: it makes no module, or one that cannot be used.
    """
    seed = int(torch.randint(2**62, (), generator=generator))
    wrapped, twin = (
        WrappedNetwork(name, make(name, factory, input_shape, classes, seed + i, leaky), input_shape, classes)
        for i in (0, 1)
    )
    check_state_is_all(name, wrapped, twin, torch.randn(TRIAL_RECORDS, *input_shape, generator=generator))
    wrapped.train()
    return wrapped


def make(name: str, factory: Factory, input_shape: tuple[int, ...], classes: int, seed: int, leaky: bool) -> nn.Module:
    """Return what the factory makes when the global random state is `seed`. Raises ArchitectureRefused."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        try:
            module = factory(input_shape, classes)
        except FOREIGN as problem:
            raise ArchitectureRefused(
                name, f"it cannot take {input_shape} and {classes} classes: {problem}"
            ) from problem
    if not isinstance(module, nn.Module):
        raise ArchitectureRefused(name, f"its factory made a {type(module).__name__}, not a torch.nn.Module")
    if leaky:
        make_leaky(name, module)
    return module


def check_state_is_all(name: str, network: WrappedNetwork, twin: WrappedNetwork, x: Tensor) -> None:
    """See that a network is its state dict: only that is stored, and predictions must agree with ingestion.

    Raises ArchitectureRefused: two networks drawn from different seeds differ although their state dicts are equal.
    """
    twin.load_state_dict(network.state_dict())
    with torch.inference_mode():
        seen, again = network.eval().activations(x), twin.eval().activations(x)
    pairs = zip((*seen.pooled, seen.logits), (*again.pooled, again.logits), strict=True)
    if not all(torch.equal(left, right) for left, right in pairs):
        raise ArchitectureRefused(name, "something that it draws is not in its state dict, or it draws when it is used")


def make_leaky(name: str, module: nn.Module) -> None:
    """Put a Leaky-ReLU in the place of every ReLU module; no parameter is renamed.

    Raises ArchitectureRefused: there is none, so that the option would change nothing.
    """
    found = 0
    for parent in list(module.modules()):
        for child_name, child in list(parent.named_children()):
            if isinstance(child, nn.ReLU):
                setattr(parent, child_name, nn.LeakyReLU(OPTIONAL_LEAK))
                found += 1
    if not found:
        raise ArchitectureRefused(name, "it has no torch.nn.ReLU module that could be made leaky")


def parameter_count(network: nn.Module) -> int:
    """Return how many numbers training can change."""
    return sum(math.prod(parameter.shape) for parameter in network.parameters())
