"""The Jacobian restricted to a public subspace: against the full tangent map, dense references and itself."""

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from unlearning.architectures import Activations, Architectures, CoreNetwork, build_network
from unlearning.errors import OutOfRange, ShapeMismatch
from unlearning.feature_maps import fit_feature_map
from unlearning.feature_maps.cut_point import default_parameters
from unlearning.feature_maps.kronecker import kronecker_blocks
from unlearning.feature_maps.layer_calls import layer_parameters
from unlearning.feature_maps.random_subspace import evenly, random_blocks
from unlearning.feature_maps.subspace import Block, restricted
from unlearning.feature_maps.tangent import TangentMap
from unlearning.feature_maps.tangent_features import tangent_features
from unlearning.prediction import predict_logits
from unlearning.public_model import PublicModel, fit_public_model
from unlearning.rows import pack

SHAPES = {"mlp": (5,), "small-cnn": (1, 8, 8), "cifar-resnet-20": (3, 8, 8)}
CHOSEN = {
    "mlp": ("linears.0.weight", "linears.0.bias", "norms.1.bias", "output.weight", "output.bias"),
    "small-cnn": ("convolutions.0.weight", "norms.0.bias", "hidden.bias", "output.weight"),
    "cifar-resnet-20": ("conv1.weight", "layer3.0.downsample.0.weight", "layer3.2.bn2.bias", "fc.weight"),
}
TOLERANCE = 64 * torch.finfo(torch.float32).eps
"""Of float32 features, relative to the largest; a network's depth and the sums over positions are behind it."""


def network(name: str) -> tuple[CoreNetwork, Tensor]:
    """Return a small network in evaluation mode and 6 inputs."""
    generator = torch.Generator().manual_seed(3)
    made = build_network(name, SHAPES[name], 3, generator).eval()
    return made, torch.randn(6, *SHAPES[name], generator=generator)


def jacobian(made: CoreNetwork, inputs: Tensor, parameters: tuple[str, ...]) -> Tensor:
    """Return J (n, C, k) by one backward pass per record and output."""
    free = [made.get_parameter(name) for name in parameters]
    rows = []
    for one in inputs:
        logits = made(one.unsqueeze(0)).flatten()
        for logit in logits:
            found = torch.autograd.grad(logit, free, retain_graph=True)
            rows.append(torch.cat([part.flatten() for part in found]))
    return torch.stack(rows).reshape(inputs.shape[0], -1, rows[0].numel())


def directions(made: CoreNetwork, blocks: list[Block], parameters: tuple[str, ...]) -> Tensor:
    """Return U (k_full, k), which the code under test never forms."""
    places, start = {}, 0
    for name in parameters:
        places[name] = start
        start += made.get_parameter(name).numel()
    columns = []
    for block in blocks:
        for pair in block.pairs.tolist():
            i, j = divmod(pair, block.outputs.shape[1])
            column = torch.zeros(start)
            direction = torch.outer(block.outputs[:, j], block.inputs[:, i]).flatten()
            column[places[block.parameter] : places[block.parameter] + direction.numel()] = direction
            columns.append(column)
    return torch.stack(columns, dim=1)


@pytest.mark.parametrize("kind", ["kronecker", "random"])
@pytest.mark.parametrize("name", SHAPES)
def test_features_are_the_jacobian_times_the_directions(name: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unlearning.feature_maps.subspace.OUTPUTS_TOGETHER", 2)  # of three
    made, inputs = network(name)
    generator = torch.Generator().manual_seed(1)
    if kind == "kronecker":
        blocks = kronecker_blocks(made, CHOSEN[name], inputs, 40, generator)
    else:
        blocks = random_blocks(made, CHOSEN[name], 40, generator)
    phi, logits = restricted(made, blocks, inputs)
    full = jacobian(made, inputs, CHOSEN[name])
    basis = directions(made, blocks, CHOSEN[name])
    assert phi.shape == (6, 3, 40)
    assert float((basis.mT @ basis - torch.eye(40)).abs().max()) < TOLERANCE
    assert float((phi - full @ basis).abs().max()) < TOLERANCE * float(full.norm(dim=2).max())
    assert float((logits - made(inputs).detach()).abs().max()) < TOLERANCE * float(logits.abs().max())


@pytest.mark.parametrize("kind", ["kronecker", "random"])
def test_all_directions_give_the_full_tangent_kernel(kind: str) -> None:
    made, inputs = network("mlp")
    chosen = ("linears.0.weight", "linears.0.bias", "output.bias")
    k = sum(made.get_parameter(name).numel() for name in chosen)
    generator = torch.Generator().manual_seed(1)
    if kind == "kronecker":
        blocks = kronecker_blocks(made, chosen, inputs, k, generator)
    else:
        blocks = random_blocks(made, chosen, k, generator)
    phi = restricted(made, blocks, inputs)[0].flatten(0, 1).double()
    full = jacobian(made, inputs, chosen).flatten(0, 1).double()
    assert float((phi @ phi.mT - full @ full.mT).abs().max()) < TOLERANCE * float((full @ full.mT).abs().max())
    with pytest.raises(OutOfRange, match=f"1 to {k}"):
        kronecker_blocks(made, chosen, inputs, k + 1, generator)
    with pytest.raises(OutOfRange, match=f"1 to {k}"):
        random_blocks(made, chosen, k + 1, generator)


def test_one_linear_layer_has_its_exact_fisher_eigenvectors() -> None:
    """A = E h h^T and G = I for the output layer: its k first directions catch all that k dimensions can."""
    made, inputs = network("mlp")
    blocks = kronecker_blocks(made, ("output.weight",), inputs, 9, torch.Generator())
    phi = restricted(made, blocks, inputs)[0].double()
    hidden = made.activations(inputs).penultimate.double()
    best = torch.linalg.eigvalsh(hidden.mT @ hidden).flip(0)[:3].repeat_interleave(3)
    caught = torch.linalg.eigvalsh(torch.einsum("nci,ncj->ij", phi, phi)).flip(0)
    assert torch.allclose(caught, best, rtol=float(TOLERANCE))


def test_the_fisher_basis_catches_more_than_a_random_one() -> None:
    made, inputs = network("small-cnn")
    core = torch.randn(60, 1, 8, 8, generator=torch.Generator().manual_seed(8))
    squares = []
    for blocks in (
        kronecker_blocks(made, CHOSEN["small-cnn"], core, 30, torch.Generator()),
        random_blocks(made, CHOSEN["small-cnn"], 30, torch.Generator().manual_seed(2)),
    ):
        squares.append(float(restricted(made, blocks, inputs)[0].square().sum()))
    assert squares[0] > 2 * squares[1]


@pytest.mark.parametrize("name", ["tangent", "tangent-random"])
def test_the_mean_eigenvalue_over_the_core_is_one(name: str) -> None:
    made, _ = network("small-cnn")
    core = torch.randn(70, 1, 8, 8, generator=torch.Generator().manual_seed(8))
    fitted = fit_feature_map(name, made, core, width=33, generator=torch.Generator().manual_seed(2))
    phi = fitted.evaluate(made, core)[0].double()
    assert phi.shape == (70, 3, 33)
    values = torch.linalg.eigvalsh(torch.einsum("nci,ncj->ij", phi, phi) / 70)
    assert float(values.mean()) == pytest.approx(1.0, rel=float(TOLERANCE))
    again = fit_feature_map(name, made, core, width=33, generator=torch.Generator().manual_seed(2))
    assert all(torch.equal(t, again.to_tensors()[key]) for key, t in fitted.to_tensors().items())


def test_a_record_has_its_features_whatever_stands_beside_it_and_in_any_thread() -> None:
    made, inputs = network("small-cnn")
    fitted = fit_feature_map("tangent", made, inputs, width=20, generator=torch.Generator())
    expected = fitted.evaluate(made, inputs)[0]
    with ThreadPoolExecutor(4) as pool:
        others = [pool.submit(fitted.evaluate, made, inputs.roll(i, 0)) for i in range(24)]
        worst = max(float((o.result()[0].roll(-(i % 6), 0) - expected).abs().max()) for i, o in enumerate(others))
    assert worst < TOLERANCE * float(expected.abs().max())
    assert all(parameter.grad is None for parameter in made.parameters())


class Rough(CoreNetwork):
    """Overwrites what its layers make, uses one layer twice, has groups, and scales by a parameter of its own."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(5)
        self.first = nn.Conv1d(2, 4, 3, padding=1)
        self.grouped = nn.Conv1d(4, 4, 3, groups=2)
        self.twice = nn.Linear(12, 12)
        self.out = nn.Linear(12, 3)
        self.gain = nn.Parameter(torch.ones(12))
        for parameter in self.parameters():
            parameter.data.normal_(0, 0.5, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        made = nn.functional.relu_(self.first(x))
        flat = self.grouped(made).flatten(1)
        for _ in range(2):
            flat = nn.functional.leaky_relu_(self.twice(flat))
        return self.out(flat * self.gain)

    def activations(self, x: Tensor) -> Activations:
        return Activations((), x, self.forward(x))


def test_networks_that_overwrite_and_share_are_seen_rightly() -> None:
    made, inputs = Rough().eval(), torch.randn(4, 2, 5, generator=torch.Generator().manual_seed(6))
    names = tuple(name for name, _ in made.named_parameters())
    usable = layer_parameters(made, names, inputs)
    assert set(names) - set(usable) == {"gain", "grouped.weight"}
    blocks = random_blocks(made, usable, 60, torch.Generator().manual_seed(1))
    phi = restricted(made, blocks, inputs)[0]
    full = jacobian(made, inputs, usable)
    assert float((phi - full @ directions(made, blocks, usable)).abs().max()) < TOLERANCE * float(
        full.norm(dim=2).max()
    )


@pytest.fixture(scope="module")
def images() -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(11)
    return draw.integers(0, 256, (60, 1, 8, 8)).astype(np.uint8), np.arange(60) % 3


@pytest.fixture(scope="module", params=["tangent", "tangent-random"])
def model(request: pytest.FixtureRequest, images: tuple[np.ndarray, np.ndarray]) -> PublicModel:
    """A small-cnn with 24 directions on random images."""
    return fit_public_model(
        *images, class_names=("a", "b", "c"), architecture="small-cnn", feature_map=request.param, width=24,
        capacity=1000, epochs=2, seed=5,
    )  # fmt: skip


def test_a_record_has_its_integers_in_every_row_and_company(
    model: PublicModel, images: tuple[np.ndarray, np.ndarray]
) -> None:
    x, y = np.concatenate([images[0]] * 2), np.concatenate([images[1]] * 2)
    together = pack(model.extract(x, y))
    assert len(together[0]) == model.row_bytes
    order = np.random.default_rng(1).permutation(120)
    assert pack(model.extract(x[order], y[order])) == [together[i] for i in order]
    assert [pack(model.extract(x[i : i + 1], y[i : i + 1]))[0] for i in (3, 77)] == [together[3], together[77]]


def test_a_public_model_is_read_back_as_it_was(model: PublicModel, images: tuple[np.ndarray, np.ndarray]) -> None:
    data = model.to_bytes()
    again = PublicModel.from_bytes(data)
    assert (again.to_bytes(), again.digest(), again.weight_shape) == (data, model.digest(), (24, 1))
    assert pack(again.extract(*images)) == pack(model.extract(*images))
    assert pack(again.unpack(pack(model.extract(*images)))) == pack(model.extract(*images))
    assert again.no_statistics().cross.shape == (24, 1)
    assert again.no_rows().phi.shape == (0, 3, 24)
    with pytest.raises(ShapeMismatch):
        predict_logits(again, np.zeros((24, 3)), images[0])


def test_an_operators_network_has_tangent_features_too() -> None:
    def factory(_shape: tuple[int, ...], classes: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(144, classes))

    made = Architectures({"theirs": factory}).build("theirs", (1, 8, 8), 3, torch.Generator().manual_seed(1)).eval()
    core = torch.randn(20, 1, 8, 8, generator=torch.Generator().manual_seed(2))
    fitted = fit_feature_map("tangent", made, core, width=30, generator=torch.Generator())
    names = default_parameters(made)
    assert set(names) == {f"module.{layer}.{part}" for layer in (0, 3) for part in ("weight", "bias")}
    assert isinstance(fitted, TangentMap)
    expected = jacobian(made, core, names) @ directions(made, list(fitted.blocks), names)
    got = fitted.evaluate(made, core)[0] / fitted.scale
    assert float((got - expected).abs().max()) < TOLERANCE * float(jacobian(made, core, names).norm(dim=2).max())
    full = tangent_features(made, core, parameters=("module.3",)).core_outputs()
    assert float((full - made(core).detach()).abs().max()) < TOLERANCE * float(full.abs().max())


def test_widths_are_shared_out_evenly_as_far_as_there_is_room() -> None:
    assert evenly(10, {"a": 100, "b": 100, "c": 100}) == {"a": 4, "b": 3, "c": 3}
    assert evenly(10, {"a": 1, "b": 100, "c": 2}) == {"a": 1, "b": 7, "c": 2}
    assert evenly(2, {"a": 5, "b": 5, "c": 5}) == {"a": 1, "b": 1}


def test_another_network_is_refused() -> None:
    made, inputs = network("mlp")
    fitted = fit_feature_map("tangent", made, inputs, width=5, generator=torch.Generator())
    other = build_network("mlp", (6,), 3, torch.Generator()).eval()
    with pytest.raises(ShapeMismatch, match=r"linears\.0\.weight"):
        fit_feature_map("tangent-random", made, inputs, width=5, generator=torch.Generator()).evaluate(
            other, torch.zeros(2, 6)
        )
    small = build_network("small-cnn", (1, 8, 8), 3, torch.Generator()).eval()
    with pytest.raises(ShapeMismatch, match="parameter"):
        fitted.evaluate(small, torch.zeros(2, 1, 8, 8))
    with pytest.raises(ShapeMismatch):
        Block("x", torch.zeros(3, 2), torch.zeros(3), torch.zeros(1, dtype=torch.int64))
    with pytest.raises(OutOfRange, match="pairs"):
        Block("x", torch.zeros(3, 2), torch.zeros(3, 2), torch.tensor([4]))
    for width in (0, -1):
        with pytest.raises(OutOfRange):
            fit_feature_map("tangent", made, inputs, width=width, generator=torch.Generator())


def test_without_a_width_it_is_256_or_all_there_is() -> None:
    made, inputs = network("mlp")
    assert fit_feature_map("tangent", made, inputs, generator=torch.Generator()).width == 256
    names = default_parameters(made)
    assert np.prod([math.prod(made.get_parameter(n).shape) for n in names[:1]]) > 256
