"""Core networks: shapes, seeds, names."""

import pytest
import torch

from unlearning.architectures import build_network
from unlearning.errors import OutOfRange, UnknownArchitecture


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("small-cnn", (1, 8, 8)),
        ("small-cnn", (1, 28, 28)),
        ("small-cnn", (3, 32, 32)),
        ("mlp", (7,)),
        ("mlp", (1,)),
        ("all-cnn", (1, 8, 9)),
        ("cifar-resnet-20", (3, 32, 32)),
        ("resnet18", (3, 32, 40)),
        ("resnet50", (1, 32, 32)),
    ],
)
def test_activations_have_matching_shapes(name: str, shape: tuple[int, ...]) -> None:
    network = build_network(name, shape, 4, torch.Generator().manual_seed(0)).eval()
    x = torch.randn(5, *shape, generator=torch.Generator().manual_seed(1))
    activations = network.activations(x)
    assert all(layer.ndim == 2 and layer.shape[0] == 5 for layer in activations.pooled)
    assert activations.penultimate.shape[0] == 5
    assert activations.logits.shape == (5, 4)
    assert network(x).equal(activations.logits)


@pytest.mark.parametrize(("name", "shape"), [("small-cnn", (1, 8, 8)), ("mlp", (7,))])
def test_weights_come_from_the_generator_alone(name: str, shape: tuple[int, ...]) -> None:
    state = torch.get_rng_state()
    first, again, other = (
        build_network(name, shape, 4, torch.Generator().manual_seed(seed)).state_dict() for seed in (1, 1, 2)
    )
    assert torch.get_rng_state().equal(state)
    assert all(first[key].equal(again[key]) for key in first)
    assert any(not first[key].equal(other[key]) for key in first)
    assert all(value.isfinite().all() for value in first.values())


@pytest.mark.parametrize("name", ["all-cnn", "cifar-resnet-20", "resnet18"])
def test_leaky_changes_the_function_and_no_name(name: str) -> None:
    plain, leaky = (
        build_network(name, (3, 32, 32), 4, torch.Generator().manual_seed(0), leaky=leaky).eval()
        for leaky in (False, True)
    )
    state, leaky_state = plain.state_dict(), leaky.state_dict()
    assert all(value.equal(leaky_state[key]) for key, value in state.items())
    assert state.keys() == leaky_state.keys()
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    seen, leaky_seen = plain.activations(x), leaky.activations(x)
    assert not seen.logits.equal(leaky_seen.logits)
    # Behind a ReLU nothing is negative, behind a Leaky-ReLU something is.
    assert seen.penultimate.min() >= 0
    assert leaky_seen.penultimate.min() < 0


def test_leaky_is_refused_where_it_would_change_nothing() -> None:
    for name, shape in (("small-cnn", (1, 8, 8)), ("mlp", (3,))):
        with pytest.raises(OutOfRange, match="leaky"):
            build_network(name, shape, 4, torch.Generator(), leaky=True)


def test_unknown_names_and_impossible_shapes_are_refused() -> None:
    with pytest.raises(UnknownArchitecture, match="small-cnn"):
        build_network("resnet", (3, 32, 32), 10, torch.Generator())
    for name, shape in (
        ("small-cnn", (1, 7, 8)), ("small-cnn", (64,)), ("mlp", (1, 8, 8)),
        ("all-cnn", (3, 7, 9)), ("resnet18", (3, 31, 32)), ("resnet50", (9,)),
    ):  # fmt: skip
        with pytest.raises(OutOfRange):
            build_network(name, shape, 10, torch.Generator())
    with pytest.raises(OutOfRange, match="classes"):
        build_network("mlp", (4,), 1, torch.Generator())
