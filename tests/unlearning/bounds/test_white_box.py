"""The white-box bound against dense algebra, and what makes it refuse."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unlearning.bounds.white_box import allowed_residual, cheap_bound, require_within, white_box
from unlearning.errors import BoundRefused, NonFinite, OutOfRange, ShapeMismatch
from unlearning.noise.covariance import InverseHessian, Isotropic, RootInverseHessian

KINDS = (Isotropic, RootInverseHessian, InverseHessian)


@pytest.fixture
def moved(ridge):
    """A problem and weights a little off its minimiser."""
    problem = ridge()
    off = torch.randn(problem.weights.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return problem, problem.weights + 1e-3 * off


@pytest.mark.parametrize("kind", KINDS)
def test_equals_the_dense_divergence(kind, moved, hessian_power, dense_kl):
    problem, weights = moved
    noise = kind(0.02)
    sigma = 0.02**2 * hessian_power(problem.hessian, -noise.power)
    truth = dense_kl(weights, sigma, problem.weights, sigma)
    bound = white_box(problem.hessian, problem.gradient(weights), noise, mu=problem.mu)
    assert bound.computed == pytest.approx(truth, rel=1e-9)
    assert truth * (1 - 1e-12) <= bound.nats <= truth * (1 + 1e-6)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), log_mu=st.floats(-4, 1), sigma=st.floats(1e-4, 10.0))
def test_exact_is_below_cheap_and_falls_with_sigma(kind, ridge, seed, log_mu, sigma):
    problem = ridge(n=12, d=4, q=2, mu=10.0**log_mu, seed=seed)
    residual = problem.gradient(torch.zeros_like(problem.weights))
    exact = white_box(problem.hessian, residual, kind(sigma), mu=problem.mu)
    norm = float(torch.linalg.norm(residual))
    assert exact.computed <= cheap_bound(norm, kind(sigma), problem.mu) * (1 + 1e-9)
    assert white_box(problem.hessian, residual, kind(2 * sigma), mu=problem.mu).nats < exact.nats


@pytest.mark.parametrize("kind", KINDS)
def test_the_allowed_residual_spends_kappa_and_no_more(kind):
    allowed = allowed_residual(1e-3, kind(0.3), 0.01)
    assert cheap_bound(allowed, kind(0.3), 0.01) <= 1e-3
    assert cheap_bound(allowed * (1 + 1e-9), kind(0.3), 0.01) > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_the_cheap_bound_is_reached_along_the_flattest_direction(kind):
    hessian = torch.diag(torch.tensor([0.1, 1.0, 5.0], dtype=torch.float64))
    residual = torch.tensor([[1e-3], [0.0], [0.0]], dtype=torch.float64)
    exact = white_box(hessian, residual, kind(0.5), mu=0.1)
    assert exact.nats == pytest.approx(cheap_bound(1e-3, kind(0.5), 0.1), rel=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_no_noise_is_no_bound(kind, moved):
    problem, weights = moved
    assert white_box(problem.hessian, problem.gradient(weights), kind(0.0), mu=problem.mu).nats == math.inf
    assert cheap_bound(1e-9, kind(0.0), problem.mu) == math.inf
    assert allowed_residual(1e-3, kind(0.0), problem.mu) == 0.0


@pytest.mark.parametrize("kind", KINDS)
def test_the_error_of_the_residual_is_added_at_its_worst(kind):
    hessian = torch.diag(torch.tensor([0.1, 2.0], dtype=torch.float64))
    residual = torch.tensor([[1e-3], [0.0]], dtype=torch.float64)
    truly = white_box(hessian, 2.0 * residual, kind(0.5), mu=0.1)
    allowed_for = white_box(hessian, residual, kind(0.5), mu=0.1, residual_error=1e-3)
    assert allowed_for.nats >= truly.computed
    assert allowed_for.nats == pytest.approx(truly.nats, rel=1e-9)
    assert allowed_for.float_error == pytest.approx(0.75 * truly.nats, rel=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_of_the_hessian_is_covered(kind, moved, hessian_power, dense_kl):
    problem, weights = moved
    wrong = problem.hessian.clone()
    wrong.diagonal().add_(1e-4)
    truth_sigma = 0.02**2 * hessian_power(problem.hessian, -kind(0.02).power)
    truth = dense_kl(weights, truth_sigma, problem.weights, truth_sigma)
    residual = problem.gradient(weights)
    unaware = white_box(wrong, residual, kind(0.02), mu=problem.mu)
    aware = white_box(wrong, residual, kind(0.02), mu=problem.mu, hessian_error=1e-4)
    assert unaware.nats < truth <= aware.nats


@pytest.mark.parametrize("kind", KINDS)
def test_a_record_left_in_costs_many_nats(kind, ridge):
    problem = ridge(n=40)
    left_in = problem.without(7)
    noise = kind(1e-3)
    done = white_box(left_in.hessian, left_in.gradient(left_in.weights), noise, mu=problem.mu)
    skipped = white_box(left_in.hessian, left_in.gradient(problem.weights), noise, mu=problem.mu)
    wrong_set = white_box(problem.hessian, problem.gradient(left_in.weights), noise, mu=problem.mu)
    assert done.nats < 1e-20
    assert min(skipped.nats, wrong_set.nats) > 10.0
    require_within(done, 1e-3)
    with pytest.raises(BoundRefused, match="the residual is too large"):
        require_within(skipped, 1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_ill_conditioned_problems_are_refused_with_the_float_error(kind):
    generator = torch.Generator().manual_seed(3)
    basis = torch.linalg.qr(torch.randn((40, 40), generator=generator, dtype=torch.float64))[0]
    hessian = (basis * torch.logspace(0, -15, 40, dtype=torch.float64)) @ basis.mT
    hessian = (hessian + hessian.mT) / 2
    residual = basis[:, :1] + basis[:, -1:]
    with pytest.raises(BoundRefused, match=r"of which \S+ are float error") as refused:
        white_box(hessian, residual, kind(1.0), mu=1e-15)
    assert refused.value.float_error > 0


def test_float_error_alone_can_break_the_budget(moved):
    problem, weights = moved
    bound = white_box(problem.hessian, problem.gradient(weights), Isotropic(1.0), mu=problem.mu, residual_error=1.0)
    with pytest.raises(BoundRefused, match="float error alone breaks the budget"):
        require_within(bound, 2.0 * bound.computed)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"mu": 0.0}, OutOfRange),
        ({"mu": -1.0}, OutOfRange),
        ({"mu": math.nan}, OutOfRange),
        ({"mu": 1e3}, OutOfRange),
        ({"residual_error": -1.0}, OutOfRange),
        ({"residual_error": math.nan}, OutOfRange),
        ({"hessian": torch.eye(4, dtype=torch.float64)}, ShapeMismatch),
        ({"hessian": torch.eye(5)}, ShapeMismatch),
        ({"residual": torch.zeros(5, dtype=torch.float64)}, ShapeMismatch),
        ({"residual": torch.full((5, 3), math.nan, dtype=torch.float64)}, NonFinite),
    ],
)
def test_bad_input_is_named(change, error, ridge):
    problem = ridge()
    arguments = {"hessian": problem.hessian, "residual": torch.zeros((5, 3), dtype=torch.float64), "mu": problem.mu}
    arguments |= change
    with pytest.raises(error):
        white_box(arguments.pop("hessian"), arguments.pop("residual"), Isotropic(1.0), **arguments)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sigma", [-1.0, math.nan, math.inf])
def test_bad_sigma_is_named(kind, sigma):
    with pytest.raises(OutOfRange):
        kind(sigma)


@pytest.mark.parametrize("kappa", [0.0, -1.0, math.nan, math.inf])
def test_bad_kappa_is_named(kappa):
    with pytest.raises(OutOfRange):
        allowed_residual(kappa, Isotropic(1.0), 0.1)
