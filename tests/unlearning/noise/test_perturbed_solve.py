"""Noise of covariance sigma^2 H^-1 + tau^2 I from solves alone, and the price of solving roughly."""

import math
import secrets
from dataclasses import dataclass

import pytest
import torch

from unlearning.bounds.trade_off import best_success
from unlearning.errors import BoundRefused, OutOfRange
from unlearning.linear.features import PerOutputFeatures, SharedFeatures
from unlearning.linear.krylov import solve_krylov
from unlearning.linear.problem import RetainedProblem
from unlearning.noise.perturbed_solve import allowed_truncation, perturbed_solve, truncation_nats

DRAWS = 30_000
MU = 0.05


@dataclass(frozen=True)
class Answer:
    weights: torch.Tensor
    residual_bound: float


@pytest.fixture
def rows() -> SharedFeatures:
    phi = torch.randn((7, 3), generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    return SharedFeatures(phi * torch.tensor([1.5, 0.6, 0.1], dtype=torch.float64), DRAWS)


def dense_hessian(rows: SharedFeatures) -> torch.Tensor:
    return rows.phi.mT @ rows.phi / rows.count + MU * torch.eye(3, dtype=torch.float64)


def by_krylov(features, budget: float):
    """Return a fit of random targets by the solver that fits the model."""
    return lambda targets, reference: solve_krylov(RetainedProblem(features, targets, MU, reference), budget=budget)


def test_covariance(rows, seeded_bytes):
    """30,000 draws (columns). Size 1e-6 (5.2 errors, six entries); power: a sigma 5 % off stands 12 errors out (tried
    below), and leaving out tau, or taking n for sqrt(n), far more."""
    answer = perturbed_solve(
        rows, by_krylov(rows, 1e-6), seeded_bytes(6), mu=MU, sigma=0.5, tau=0.3, residual_budget=1e-6
    )
    for wrong, passes in ((1.0, True), (1.05, False)):
        sigma = (0.5 * wrong) ** 2 * torch.linalg.inv(dense_hessian(rows)) + 0.3**2 * torch.eye(3, dtype=torch.float64)
        white = torch.linalg.solve_triangular(torch.linalg.cholesky(sigma), answer.noise, upper=False)
        excess = (white @ white.mT / DRAWS - torch.eye(3, dtype=torch.float64)) * math.sqrt(DRAWS)
        excess.diagonal().div_(math.sqrt(2.0))
        assert (float(excess.abs().max()) < 5.2) == passes


def test_covariance_with_features_per_output(seeded_bytes):
    """1,500 draws of one column. Size 1e-6 (5.2 errors, six entries); power: sigma 25 % off stands 10 errors out."""
    phi = torch.randn((5, 2, 3), generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    features, source, draws = PerOutputFeatures(phi), seeded_bytes(7), 1500
    plan = {"mu": MU, "sigma": 0.5, "tau": 0.05, "residual_budget": 1e-6}
    noise = [perturbed_solve(features, by_krylov(features, 1e-6), source, **plan).noise for _ in range(draws)]
    flat = phi.flatten(0, 1)
    hessian = flat.mT @ flat / 5 + MU * torch.eye(3, dtype=torch.float64)
    for wrong, passes in ((1.0, True), (1.25, False)):
        sigma = (0.5 * wrong) ** 2 * torch.linalg.inv(hessian) + 0.05**2 * torch.eye(3, dtype=torch.float64)
        white = torch.linalg.solve_triangular(torch.linalg.cholesky(sigma), torch.cat(noise, 1), upper=False)
        excess = (white @ white.mT / draws - torch.eye(3, dtype=torch.float64)) * math.sqrt(draws)
        excess.diagonal().div_(math.sqrt(2.0))
        assert (float(excess.abs().max()) < 5.2) == passes


def test_truncation_is_priced_at_its_worst():
    """Two releases whose solves are off by rho in opposite directions along the flattest one, tau between them."""
    rho, tau = 1e-4, 0.01
    distance = 2 * rho / MU
    assert truncation_nats(rho, tau, MU) == pytest.approx(distance**2 / (2 * tau**2), rel=1e-12)
    assert truncation_nats(allowed_truncation(1e-4, tau, MU), tau, MU) <= 1e-4
    assert truncation_nats(allowed_truncation(1e-4, tau, MU) * (1 + 1e-9), tau, MU) > 1e-4
    assert truncation_nats(rho, 0.0, MU) == math.inf


def test_the_public_budget_is_charged_not_the_residual_reached(rows):
    answer = perturbed_solve(
        rows, by_krylov(rows, 1e-6), secrets.token_bytes, mu=MU, sigma=0.5, tau=0.05, residual_budget=1e-5
    )
    assert answer.truncation_nats == truncation_nats(1e-5, 0.05, MU)


def test_a_solve_that_stops_too_early_is_refused(rows):
    with pytest.raises(BoundRefused, match="solved to a residual of"):
        perturbed_solve(
            rows,
            lambda _, reference: Answer(reference, 1.0),
            secrets.token_bytes,
            mu=MU,
            sigma=0.5,
            tau=0.05,
            residual_budget=1e-6,
        )


@pytest.mark.parametrize("change", [{"sigma": 0.0}, {"tau": 0.0}, {"mu": 0.0}, {"residual_budget": -1.0}])
def test_bad_input_is_named(rows, change):
    arguments = {"mu": MU, "sigma": 0.5, "tau": 0.05, "residual_budget": 1e-6} | change
    with pytest.raises(OutOfRange):
        perturbed_solve(rows, by_krylov(rows, 1e-6), secrets.token_bytes, **arguments)


def test_no_records_is_named(rows):
    with pytest.raises(OutOfRange, match="count"):
        perturbed_solve(
            rows.take(torch.arange(0)),
            by_krylov(rows, 1e-6),
            secrets.token_bytes,
            mu=MU,
            sigma=1.0,
            tau=0.1,
            residual_budget=1.0,
        )


def success_against_a_solver_that_rounds(shift: float, spacing: float, tau: float, sigma: float = 1.0) -> float:
    """Return the best attacker's success when the solver returns the nearest multiple of `spacing` to N(0, sigma^2).

    One weight, H = mu = 1. Its answers are off by at most spacing/2, which is rho. Success is (1 + TV)/2, by summation.
    """
    points = torch.arange(-6 * sigma, 6 * sigma, spacing, dtype=torch.float64)
    edges = torch.stack([points - spacing / 2, points + spacing / 2]) / sigma
    weight = torch.special.ndtr(edges[1]) - torch.special.ndtr(edges[0])
    at = torch.arange(-7 * sigma, 7 * sigma, min(tau, spacing) / 8, dtype=torch.float64)

    def density(mean: float) -> torch.Tensor:
        return (torch.exp(-(((at[:, None] - points - mean) / tau) ** 2) / 2) * weight).sum(1) / tau / math.tau**0.5

    step = float(at[1] - at[0])
    return 0.5 + 0.25 * step * float((density(shift) - density(0.0)).abs().sum())


@pytest.mark.parametrize("tau", [0.025, 0.05, 0.1, 0.5])
def test_the_price_covers_a_solver_that_rounds(tau):
    spacing, shift = 0.1, 0.05
    nats = shift**2 / 2 + truncation_nats(spacing / 2, tau, 1.0)
    assert success_against_a_solver_that_rounds(shift, spacing, tau) <= best_success(nats)


def test_counting_the_truncation_as_more_residual_would_not_cover_it():
    """Almost no tau: the lattice of the answers shows which weights it was added to, whatever sigma hides."""
    spacing, shift = 0.1, 0.05
    as_more_residual = (shift + spacing / 2) ** 2 / 2
    assert success_against_a_solver_that_rounds(shift, spacing, tau=0.01) > 0.98
    assert best_success(as_more_residual) < 0.53
