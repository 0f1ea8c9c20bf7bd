"""Operators' networks: which names are allowed, and what a module must offer."""

import sys
import threading
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from unlearning.architectures import Architectures, read_allow_list
from unlearning.architectures.wrapped import WrappedNetwork
from unlearning.errors import ArchitectureRefused, OutOfRange, UnknownArchitecture

SHAPE = (3, 8, 8)


def plain(shape: tuple[int, ...], classes: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(shape[0], 5, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(5 * 64, 7), nn.ReLU(),
        nn.Linear(7, classes),
    )  # fmt: skip


class Staged(nn.Module):
    pooled_stages = ("body",)

    def __init__(self, classes: int, end: str = "logits") -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU())
        self.head = nn.Linear(5, classes)
        self.end = end

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.body(x).mean(dim=(2, 3)))
        return {"logits": logits, "softmax": logits.softmax(1), "double": logits.double()}[self.end]


def build(factory: object, leaky: bool = False, classes: int = 4) -> WrappedNetwork:
    network = Architectures({"own": factory}).build(  # type: ignore[dict-item]
        "own", SHAPE, classes, torch.Generator().manual_seed(3), leaky=leaky
    )
    assert isinstance(network, WrappedNetwork)
    return network


@pytest.fixture
def own_module(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("operators_networks")
    module.plain = plain  # type: ignore[attr-defined]
    module.number = 3  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "operators_networks", module)


@pytest.mark.usefixtures("own_module")
def test_named_factories_stand_beside_the_built_in_ones() -> None:
    found = read_allow_list(" mine = operators_networks:plain ,, other=operators_networks:plain ")
    assert {"mine", "other", "resnet18", "mlp"} <= set(found)
    assert (
        found.build("mine", SHAPE, 4, torch.Generator()).named.state_dict().keys()
        == plain(SHAPE, 4).state_dict().keys()
    )
    assert set(read_allow_list("")) == {"small-cnn", "mlp", "all-cnn", "resnet18", "resnet50", "cifar-resnet-20"}


@pytest.mark.usefixtures("own_module")
@pytest.mark.parametrize(
    ("entries", "why"),
    [
        ("mlp=operators_networks:plain", "unclear"),
        ("Mine=operators_networks:plain", "a name is"),
        ("=operators_networks:plain", "a name is"),
        ("mine", "not name=package"),
        ("mine=operators_networks", "not name=package"),
        ("mine=operators_networks.plain", "not name=package"),
        ("mine=../secret:run", "not name=package"),
        ("mine=operators_networks:plain()", "not name=package"),
        ("mine=operators_networks:gone", "cannot be imported"),
        ("mine=no_such_package_here:plain", "cannot be imported"),
        ("mine=operators_networks:number", "called"),
        ("mine=operators_networks:plain,mine=operators_networks:plain", "twice"),
    ],
)
def test_other_entries_are_refused(entries: str, why: str) -> None:
    with pytest.raises(ArchitectureRefused, match=why):
        read_allow_list(entries)


def test_a_name_that_is_not_on_the_list_is_unknown() -> None:
    with pytest.raises(UnknownArchitecture, match="resnet18"):
        Architectures({}).build("own", SHAPE, 4, torch.Generator())
    with pytest.raises(OutOfRange):
        Architectures({"own": plain}).build("own", SHAPE, 1, torch.Generator())


def test_hooks_read_the_layers_and_the_last_input() -> None:
    network = build(plain).eval()
    x = torch.randn(6, *SHAPE, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        found = network.activations(x)
        module = network.module
        convolved = module[0](x)
        hidden = module[4](module[3](module[2](module[1](convolved))))
    assert [tuple(layer.shape) for layer in found.pooled] == [(6, 5), (6, 7), (6, 7)]
    assert found.pooled[0].equal(convolved.flatten(2).mean(dim=2))
    assert found.penultimate.equal(hidden)
    assert found.logits.equal(network(x))
    assert network.output_layer is module[5]


def test_named_stages_are_pooled_instead_of_leaves() -> None:
    found = build(lambda _, classes: Staged(classes)).eval().activations(torch.zeros(2, *SHAPE))
    assert [tuple(layer.shape) for layer in found.pooled] == [(2, 5), (2, 5)]
    assert found.pooled[0].min() >= 0  # behind the ReLU, which no leaf convolution is


@pytest.mark.parametrize(
    ("factory", "why"),
    [
        (lambda shape, classes: nn.Sequential(nn.Flatten(), nn.Linear(192, classes + 1)), r"\(2, 5\)"),
        (lambda shape, classes: nn.Conv2d(3, classes, 3), r"\(2, 4, 6, 6\)"),
        (lambda shape, classes: Staged(classes, end="softmax"), "last linear"),
        (lambda shape, classes: Staged(classes, end="double"), "float64"),
        (lambda shape, classes: nn.Sequential(nn.Flatten(), nn.Linear(7, classes)), "cannot take"),
        (lambda shape, classes: nn.Sequential(nn.Conv2d(3, classes, 8), nn.Flatten()), "last linear"),
        (lambda shape, classes: {}["no"], "cannot take"),
        (lambda shape, classes: "a network", "not a torch.nn.Module"),
        (lambda shape, classes: nn.LSTM(8, classes), "cannot take"),
    ],
)
def test_a_module_without_logits_is_refused_before_any_work(factory: object, why: str) -> None:
    with pytest.raises(ArchitectureRefused, match=why):
        build(factory)


class Hidden(nn.Module):
    """Multiplies by something random that is no part of the state dict, or draws at every use."""

    def __init__(self, classes: int, how: str) -> None:
        super().__init__()
        self.head = nn.Linear(192, classes)
        self.how = how
        self.factor = torch.rand(192)
        self.register_buffer("other", torch.rand(192) if how == "buffer" else torch.ones(192), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        used = {"attribute": self.factor, "buffer": self.other, "use": torch.rand(192), "none": torch.ones(192)}
        logits: Tensor = self.head(x.flatten(1) * used[self.how] * self.other)
        return logits


@pytest.mark.parametrize("how", ["attribute", "buffer", "use"])
def test_a_network_that_is_more_than_its_state_dict_is_refused(how: str) -> None:
    with pytest.raises(ArchitectureRefused, match="state dict"):
        build(lambda _, classes: Hidden(classes, how))
    build(lambda _, classes: Hidden(classes, "none"))


def test_leaky_replaces_modules_and_keeps_names() -> None:
    network, leaky = build(plain).eval(), build(plain, leaky=True).eval()
    assert network.named.state_dict().keys() == leaky.named.state_dict().keys()
    assert all(a.equal(leaky.state_dict()[name]) for name, a in network.state_dict().items())
    x = torch.randn(6, *SHAPE, generator=torch.Generator().manual_seed(0))
    assert not network(x).equal(leaky(x))
    with pytest.raises(ArchitectureRefused, match="ReLU"):
        build(lambda shape, classes: nn.Sequential(nn.Flatten(), nn.Linear(192, classes)), leaky=True)


def test_weights_come_from_the_generator_and_the_global_state_stays() -> None:
    state = torch.get_rng_state()
    first, again = build(plain).state_dict(), build(plain).state_dict()
    assert torch.get_rng_state().equal(state)
    assert all(first[name].equal(again[name]) for name in first)


def test_threads_do_not_see_each_others_layers() -> None:
    network = build(plain).eval()
    inputs = [torch.full((2, *SHAPE), float(i)) for i in range(4)]
    with torch.inference_mode():
        alone = [network.activations(x) for x in inputs]
    barrier = threading.Barrier(4)
    wrong: list[int] = []

    def work(i: int) -> None:
        barrier.wait()
        for _ in range(20):
            with torch.inference_mode():
                found = network.activations(inputs[i])
            if len(found.pooled) != 3 or not found.penultimate.equal(alone[i].penultimate):
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
