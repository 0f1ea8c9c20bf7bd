"""Drawn noise has the covariance that the bounds assume."""

import math
import secrets

import pytest
import torch

from unlearning.errors import BoundRefused, NonFinite, OutOfRange, ShapeMismatch
from unlearning.noise.covariance import InverseHessian, Isotropic, RootInverseHessian, covariance_named

DRAWS = 40_000
LIMIT = 5.5
"""In standard errors. Ten entries and three tests: false alarm 30 x 4e-8, about 1e-6."""


def whitened_deviation(noise: torch.Tensor, hessian: torch.Tensor, power: float, sigma: float) -> float:
    """Return the largest deviation, in standard errors, of the covariance of H^(power/2) z / sigma from I."""
    values, vectors = torch.linalg.eigh(hessian)
    white = vectors @ ((vectors.mT @ noise) * values.pow(power / 2).unsqueeze(1)) / sigma
    d, draws = white.shape
    excess = (white @ white.mT / draws - torch.eye(d, dtype=torch.float64)) * math.sqrt(draws)
    excess.diagonal().div_(math.sqrt(2.0))  # the variance of a square is 2, of a product 1
    return float(excess.abs().max())


@pytest.mark.parametrize("kind", [Isotropic, RootInverseHessian, InverseHessian])
def test_covariance_is_sigma_squared_times_the_power_of_h(kind, hessian, seeded_bytes):
    """Size 1e-6; power: a sigma 5 % off moves a variance by 10 %, 14 errors; a neighbouring power far more."""
    noise = kind(0.3).draw(hessian, DRAWS, seeded_bytes(2))
    assert whitened_deviation(noise, hessian, kind(0.3).power, 0.3) < LIMIT
    assert whitened_deviation(noise, hessian, kind(0.3).power, 0.3 * 1.05) > LIMIT
    assert whitened_deviation(noise, hessian, (kind(0.3).power + 0.5) % 1.5, 0.3) > LIMIT


def test_columns_are_independent(hessian, seeded_bytes):
    """Size 1e-6; power: columns that share half their variance correlate by 0.5, 100 errors."""
    noise = InverseHessian(1.0).draw(hessian, DRAWS, seeded_bytes(3))
    odd, even = noise[:, 1::2], noise[:, ::2]
    correlation = (odd * even).mean(1) / (noise.square().mean(1))
    assert float(correlation.abs().max()) < 5.1 / math.sqrt(DRAWS / 2)


def test_proposition_4_minimises_loss_plus_nats(hessian, hessian_power):
    """1/2 tr(H Sigma) + lambda/2 sigma_h^2 tr(Sigma^-1) is lowest at Sigma = sqrt(lambda) sigma_h H^-1/2."""
    weight, error = 0.7, 0.2

    def lagrangian(sigma: torch.Tensor) -> float:
        return 0.5 * float((hessian @ sigma).trace() + weight * error**2 * torch.linalg.inv(sigma).trace())

    best = math.sqrt(weight) * error * hessian_power(hessian, -0.5)
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        step = torch.randn((4, 4), generator=generator, dtype=torch.float64)
        assert lagrangian(best + 1e-3 * (step + step.mT)) > lagrangian(best)
    for power in (0.0, -1.0):
        other = hessian_power(hessian, power)
        scales = torch.logspace(-3, 1, 100, dtype=torch.float64)
        assert min(lagrangian(scale * other) for scale in scales) > lagrangian(best)


def test_two_draws_differ(hessian):
    first, second = (Isotropic(1.0).draw(hessian, 2, secrets.token_bytes) for _ in range(2))
    assert not torch.equal(first, second)


@pytest.mark.parametrize("kind", [InverseHessian, RootInverseHessian])
def test_an_indefinite_hessian_has_no_noise(kind):
    with pytest.raises(BoundRefused, match="no covariance"):
        kind(1.0).draw(torch.diag(torch.tensor([1.0, -1e-3], dtype=torch.float64)), 1, secrets.token_bytes)


@pytest.mark.parametrize("kind", [Isotropic, InverseHessian, RootInverseHessian])
def test_bad_hessians_are_named(kind):
    with pytest.raises(ShapeMismatch):
        kind(1.0).draw(torch.eye(3), 1, secrets.token_bytes)
    with pytest.raises(ShapeMismatch):
        kind(1.0).draw(torch.zeros((2, 3), dtype=torch.float64), 1, secrets.token_bytes)
    with pytest.raises(NonFinite):
        kind(1.0).draw(torch.full((2, 2), math.nan, dtype=torch.float64), 1, secrets.token_bytes)


def test_names_of_registration():
    assert covariance_named("inverse_hessian", 0.1) == InverseHessian(0.1)
    with pytest.raises(OutOfRange, match="isotropic, inverse_hessian"):
        covariance_named("laplace", 0.1)
