"""The full tangent operator against a dense Jacobian in float64, and what is refused before any work."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from unlearning.architectures import CoreNetwork, build_network
from unlearning.errors import NonFinite, OutOfRange, ShapeMismatch
from unlearning.feature_maps.cut_point import default_parameters, stages
from unlearning.feature_maps.tangent_features import TangentFeatures, tangent_features
from unlearning.linear.features import Features

# torch itself compiles its rules of forward differentiation with what it has deprecated, on first use.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")

EPS = torch.finfo(torch.float64).eps
CASES = {
    "mlp": ((5,), None),
    "small-cnn": ((1, 8, 8), ("convolutions.2", "hidden", "output.weight")),
    "all-cnn": ((1, 8, 8), ("convolutions.7", "norms.7", "output")),
    "cifar-resnet-20": ((3, 8, 8), ("layer3.2.conv2", "layer3.2.bn2", "fc")),
}
Maker = Callable[[str], tuple[CoreNetwork, Tensor]]


@pytest.fixture(scope="module")
def made() -> Maker:
    """A function name -> a network whose batch normalisation has seen data, and 5 inputs."""

    def make(name: str) -> tuple[CoreNetwork, Tensor]:
        generator = torch.Generator().manual_seed(1)
        shape = CASES[name][0]
        network = build_network(name, shape, 3, generator)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                module.running_mean.normal_(0.0, 0.3, generator=generator)
                module.running_var.uniform_(0.5, 2.0, generator=generator)
        return network, torch.randn(5, *shape, generator=generator)

    return make


def dense(network: nn.Module, inputs: Tensor, names: tuple[str, ...]) -> Tensor:
    """Return the Jacobian (n, C, k) by plain reverse differentiation in float64, parameters in the order of `names`."""
    values = {name: v.detach().double() for name, v in network.state_dict().items() if v.is_floating_point()}
    free = {name: values[name].clone().requires_grad_() for name in names}
    logits = functional_call(network.eval(), values | free, (inputs.double(),))
    rows = [torch.autograd.grad(one, list(free.values()), retain_graph=True) for one in logits.flatten()]
    return torch.stack([torch.cat([part.flatten() for part in row]) for row in rows]).reshape(*logits.shape, -1)


def close(got: Tensor, expected: Tensor, size: float) -> bool:
    """Whether they agree to the rounding of sums of terms as large as `size`, with room for a network's depth."""
    return float((got - expected).abs().max()) <= 1000 * EPS * size


@pytest.mark.parametrize("cut_early", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_products_equal_those_of_the_dense_jacobian(made: Maker, name: str, cut_early: bool) -> None:
    network, inputs = made(name)
    operator = tangent_features(network, inputs, parameters=CASES[name][1], cut_early=cut_early, batch=2)
    jacobian = dense(network, inputs, operator.linearization.free)
    assert (operator.count, operator.outputs, operator.weight_shape) == (5, 3, (jacobian.shape[2], 1))
    generator = torch.Generator().manual_seed(2)
    weights = torch.randn(operator.weight_shape, generator=generator, dtype=torch.float64)
    errors = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    forward, back = operator.apply(weights), operator.adjoint(errors)
    size = float((jacobian.abs() @ weights.abs()).max())
    assert close(forward, (jacobian @ weights).squeeze(2), size)
    assert close(back.squeeze(1), torch.einsum("nck,nc->k", jacobian, errors), float(jacobian.abs().sum((0, 1)).max()))
    inner = (float((forward * errors).sum()), float((weights * back).sum()))
    assert abs(inner[0] - inner[1]) <= 1000 * EPS * size * float(errors.abs().sum())
    core = operator.core_outputs()
    assert close(core, network(inputs).detach().double(), float(core.abs().max()) * 2.0**30)  # the network is float32
    assert close(operator.predict(weights), core + forward, size)
    chosen = torch.tensor([3, 1, 1])
    assert close(operator.take(chosen).apply(weights), forward[chosen], size)
    assert operator.take(torch.zeros(0, dtype=torch.int64)).apply(weights).shape == (0, 3)


@pytest.mark.parametrize("name", CASES)
def test_the_steps_of_a_network_are_the_network(made: Maker, name: str) -> None:
    network, inputs = made(name)
    value = inputs
    with torch.no_grad():
        for step in stages(network.eval()):
            value = step.run(network, value)
        assert torch.equal(value, network(inputs))
    prefixes = tuple(prefix for step in stages(network) for prefix in step.prefixes)
    assert all(parameter.startswith(prefixes) for parameter, _ in network.named_parameters())
    assert {"output.weight", "fc.weight"} & set(default_parameters(network))


def test_a_cut_keeps_less_and_runs_what_is_before_it_once(made: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    network, inputs = made("small-cnn")
    operator = tangent_features(network, inputs, parameters=("hidden", "output"), cut_early=True)
    assert operator.cached.shape == (5, 512)

    def never(_x: Tensor) -> Tensor:
        raise AssertionError("ran again")

    monkeypatch.setattr(network.convolutions[0], "forward", never)
    assert operator.adjoint(torch.ones(5, 3, dtype=torch.float64)).shape == operator.weight_shape


class Foreign(nn.Module):
    """A network of somebody else's, with a layer that the subspaces do not know."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Parameter(torch.tensor([[0.3, -1.0], [0.5, 2.0], [1.0, 0.1], [0.2, 0.2]]))
        self.act = nn.LeakyReLU(0.01)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(x @ self.mix)


def test_any_module_will_do_without_a_cut() -> None:
    network, inputs = Foreign(), torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    operator: Features = tangent_features(network, inputs)
    jacobian = dense(network, inputs, ("mix",))
    weights = torch.arange(8, dtype=torch.float64).reshape(8, 1)
    assert close(operator.apply(weights), (jacobian @ weights).squeeze(2), float(jacobian.abs().sum(2).max()) * 8)
    with pytest.raises(OutOfRange, match="cut point"):
        tangent_features(network, inputs, cut_early=True)


def test_single_precision_is_a_choice(made: Maker) -> None:
    network, inputs = made("mlp")
    exact, single = (tangent_features(network, inputs, dtype=dtype) for dtype in (torch.float64, torch.float32))
    weights = torch.ones(exact.weight_shape, dtype=torch.float64)
    difference = float((exact.apply(weights) - single.apply(weights)).abs().max())
    assert single.apply(weights).dtype == torch.float64
    assert 0 < difference < 1e-4 * float(exact.apply(weights).abs().max())


def test_what_cannot_be_linearized_is_refused_before_any_work(made: Maker) -> None:
    network, inputs = made("mlp")
    for wrong in (["linears.7"], ["output.weigh"], ["outpu"]):
        with pytest.raises(OutOfRange, match=wrong[0]):
            tangent_features(network, inputs, parameters=wrong)
    with pytest.raises(OutOfRange, match="linearized parameters"):
        tangent_features(network, inputs, parameters=[])
    with pytest.raises(OutOfRange, match="records"):
        tangent_features(network, inputs[:0])
    with pytest.raises(OutOfRange, match="dtype"):
        tangent_features(network, inputs, dtype=torch.int64)
    with pytest.raises(ShapeMismatch, match="output of the network"):
        tangent_features(nn.Conv2d(1, 2, 3), torch.zeros(2, 1, 5, 5))
    broken = inputs.clone()
    broken[1, 2] = torch.nan
    with pytest.raises(NonFinite, match="inputs"):
        tangent_features(network, broken)
    with torch.no_grad():
        network.output.bias[0] = torch.inf
    with pytest.raises(NonFinite, match="parameters"):
        tangent_features(network, inputs)


def test_products_check_what_they_are_given(made: Maker) -> None:
    network, inputs = made("mlp")
    operator: TangentFeatures = tangent_features(network, inputs, parameters=["output"])
    k = operator.weight_shape[0]
    for wrong in (torch.zeros(k), torch.zeros(k + 1, 1)):
        with pytest.raises(ShapeMismatch):
            operator.apply(wrong.double())
    with pytest.raises(ShapeMismatch):
        operator.adjoint(torch.zeros(4, 3, dtype=torch.float64))
    with pytest.raises(NonFinite):
        operator.apply(torch.full((k, 1), torch.nan, dtype=torch.float64))
    with pytest.raises(NonFinite):
        operator.adjoint(torch.full((5, 3), torch.inf, dtype=torch.float64))
