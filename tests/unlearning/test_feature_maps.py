"""Public feature maps: normalisation, kernels, names."""

import numpy as np
import pytest
import torch

from unlearning.architectures import Activations, CoreNetwork, build_network
from unlearning.errors import CorruptArtifact, OutOfRange, ShapeMismatch, UnknownFeatureMap
from unlearning.feature_maps import FEATURE_MAPS, core_activations, fit_feature_map, restore_feature_map
from unlearning.feature_maps.nystrom import fit_nystrom

SHARED = ("head", "pooled", "nystrom")


@pytest.fixture(scope="module")
def network() -> CoreNetwork:
    return build_network("mlp", (5,), 3, torch.Generator().manual_seed(0)).eval()


@pytest.fixture(scope="module")
def inputs() -> torch.Tensor:
    return torch.randn(90, 5, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", SHARED)
def test_columns_have_mean_square_one_on_core_data_and_a_bias(
    name: str, network: CoreNetwork, inputs: torch.Tensor
) -> None:
    fitted = fit_feature_map(name, network, inputs, generator=torch.Generator().manual_seed(2))
    phi, logits = fitted.evaluate(network, inputs)
    assert logits.equal(core_activations(network, inputs).logits)
    assert phi.shape == (90, fitted.width)
    assert phi.dtype == torch.float32
    assert (phi[:, -1] == 1).all()
    assert float(phi[:, :-1].double().square().mean()) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("name", FEATURE_MAPS)
def test_constants_round_trip(name: str, network: CoreNetwork, inputs: torch.Tensor) -> None:
    fitted = fit_feature_map(name, network, inputs, generator=torch.Generator().manual_seed(2))
    restored = restore_feature_map(name, fitted.to_tensors())
    assert all(map(torch.equal, restored.evaluate(network, inputs), fitted.evaluate(network, inputs)))
    assert (restored.name, restored.width, restored.per_output) == (name, fitted.width, name not in SHARED)
    broken = dict(fitted.to_tensors())
    broken["scale"] = torch.ones(2)
    with pytest.raises(CorruptArtifact):
        restore_feature_map(name, broken)
    with pytest.raises(CorruptArtifact):
        restore_feature_map(name, {})


def test_nystrom_reproduces_the_kernel_on_its_landmarks() -> None:
    """With every record a landmark, phi phi^T is the Gaussian kernel itself up to the public factor."""
    h = torch.randn(40, 6, generator=torch.Generator().manual_seed(3))
    core = Activations((h,), h, h)
    fitted = fit_nystrom(core, 41, torch.Generator().manual_seed(4), 0.3)
    features = fitted.phi(core)[:, :-1].double()
    z = (h.double() - h.double().mean(0)) / h.double().std(0, correction=0) / np.sqrt(6)
    bandwidth = 0.3 * float(torch.pdist(z).median())
    kernel = torch.exp(-torch.cdist(z, z).square() / (2 * bandwidth**2))
    factor = float(torch.trace(features @ features.T)) / 40
    assert torch.linalg.eigvalsh(kernel)[0] > 2e-4 * torch.linalg.eigvalsh(kernel)[-1]  # the floor changes nothing
    assert (features @ features.T / factor - kernel).abs().max() < 1e-4  # float32 features


def test_nystrom_constants_depend_on_the_generator_alone(network: CoreNetwork, inputs: torch.Tensor) -> None:
    maps = [
        fit_feature_map("nystrom", network, inputs, width=11, generator=torch.Generator().manual_seed(seed))
        for seed in (1, 1, 2)
    ]
    first, again, other = (m.to_tensors() for m in maps)
    assert all(first[key].equal(again[key]) for key in first)
    assert not first["landmarks"].equal(other["landmarks"])
    assert maps[0].width == 11


def test_a_column_that_is_constant_on_core_data_is_switched_off() -> None:
    h = torch.randn(30, 3, generator=torch.Generator().manual_seed(3))
    h[:, 1] = 5.0
    network = ConstantColumn(h)
    fitted = fit_feature_map("head", network, torch.zeros(30, 1), generator=torch.Generator())
    surprise = torch.tensor([[0.0, 1e9, 0.0]])
    phi = fitted.phi(Activations((surprise,), surprise, surprise))
    assert float(phi[0, 1]) == 0.0


class ConstantColumn(CoreNetwork):
    """Returns given activations."""

    def __init__(self, h: torch.Tensor) -> None:
        super().__init__()
        self.h = h

    def activations(self, x: torch.Tensor) -> Activations:
        return Activations((self.h,), self.h, self.h)


def test_widths_and_names_are_checked(network: CoreNetwork, inputs: torch.Tensor) -> None:
    generator = torch.Generator()
    with pytest.raises(UnknownFeatureMap, match="nystrom"):
        fit_feature_map("wavelet", network, inputs, generator=generator)
    with pytest.raises(UnknownFeatureMap):
        restore_feature_map("wavelet", {})
    for name, width in (("head", 10), ("pooled", 10), ("nystrom", 92), ("nystrom", 1)):
        with pytest.raises(OutOfRange, match=name):
            fit_feature_map(name, network, inputs, width=width, generator=generator)
    with pytest.raises(OutOfRange, match="bandwidth"):
        fit_nystrom(core_activations(network, inputs[:1].repeat(9, 1)), 5, generator)
    with pytest.raises(OutOfRange, match="bandwidth of head"):
        fit_feature_map("head", network, inputs, bandwidth=0.5, generator=generator)
    fitted = fit_feature_map("head", network, inputs, generator=generator)
    other = torch.zeros(1, 3)
    with pytest.raises(ShapeMismatch):
        fitted.phi(Activations((other,), other, other))
