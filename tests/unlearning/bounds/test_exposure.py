"""Every record's exposure against the dense divergence of models that were really refitted without it."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unlearning.bounds import exposure as exposure_module
from unlearning.bounds.exposure import FixedRidge, ScaledRidge, prepare
from unlearning.errors import BoundRefused, NonFinite, OutOfRange, ShapeMismatch
from unlearning.noise.covariance import InverseHessian, Isotropic, RootInverseHessian

SIGMA = 0.05
SHAPES = [{"q": 3, "rows": 1}, {"q": 1, "rows": 3}]
"""Shared maps and per-output maps."""


def inputs(problem):
    """phi and targets as `Exposure.of` takes them."""
    if problem.phi.shape[1] == 1:
        return problem.phi[:, 0], problem.targets[:, 0]
    return problem.phi, problem.targets[:, :, 0]


def fit(problem, ridge):
    """Return the weights and the Hessian in the units of the convention."""
    d = problem.phi.shape[2]
    if isinstance(ridge, ScaledRidge):
        return problem.weights, problem.hessian
    hessian = problem.gram + ridge.rho * torch.eye(d, dtype=torch.float64)
    return torch.linalg.solve(hessian, problem.cross), hessian


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("convention", [ScaledRidge(0.05), FixedRidge(1.5)])
@pytest.mark.parametrize("kind", [Isotropic, InverseHessian])
def test_equals_refitting_without_each_record(shape, convention, kind, ridge, hessian_power, dense_kl):
    problem = ridge(n=25, d=6, **shape)
    found = prepare(problem.gram, problem.cross, 25, convention, kind(SIGMA)).of(*inputs(problem))
    weights, hessian = fit(problem, convention)
    power = kind(SIGMA).power
    for record in range(25):
        weights2, hessian2 = fit(problem.without(record), convention)
        truth = dense_kl(
            weights,
            SIGMA**2 * hessian_power(hessian, -power),
            weights2,
            SIGMA**2 * hessian_power(hessian2, -power),
        )
        assert float(found[record]) == pytest.approx(truth, rel=1e-9)


def test_the_spread_counts_beside_the_shift(ridge):
    """Much inverse-Hessian noise hides the shift; what the covariance itself tells stays."""
    problem = ridge(n=25, d=6)
    loud = prepare(problem.gram, problem.cross, 25, ScaledRidge(0.05), InverseHessian(1e6)).of(*inputs(problem))
    assert float(loud.min()) > 1e-5


def test_a_ridge_taken_as_constant_is_seen(ridge):
    """The negative control of the convention: n mu against a fixed ridge of the same size, small noise."""
    problem = ridge(n=25, d=6)
    scaled = prepare(problem.gram, problem.cross, 25, ScaledRidge(0.05), Isotropic(SIGMA)).of(*inputs(problem))
    fixed = prepare(problem.gram, problem.cross, 25, FixedRidge(25 * 0.05), Isotropic(SIGMA)).of(*inputs(problem))
    assert float(((scaled - fixed) / scaled).abs().max()) > 0.05


@pytest.mark.parametrize("kind", [Isotropic, InverseHessian])
def test_blocks_do_not_matter(kind, ridge, monkeypatch):
    problem = ridge(n=25, d=6)
    version = prepare(problem.gram, problem.cross, 25, ScaledRidge(0.05), kind(SIGMA))
    whole = version.of(*inputs(problem))
    monkeypatch.setattr(exposure_module, "BLOCK_NUMBERS", 40)
    assert torch.allclose(version.of(*inputs(problem)), whole, rtol=1e-12)


@pytest.mark.parametrize("kind", [Isotropic, InverseHessian])
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), log_mu=st.floats(-4, 1), sigma=st.floats(1e-3, 10))
def test_exposure_falls_with_sigma_and_is_positive(kind, ridge, seed, log_mu, sigma):
    problem = ridge(n=10, d=4, q=2, mu=10.0**log_mu, seed=seed)
    quiet, loud = (
        prepare(problem.gram, problem.cross, 10, ScaledRidge(problem.mu), kind(each)).of(*inputs(problem))
        for each in (sigma, 2 * sigma)
    )
    assert bool((loud >= 0).all())
    assert bool((loud <= quiet).all())


def test_an_outlier_is_exposed_most(ridge):
    problem = ridge(n=40, d=5)
    problem.targets[17] *= 30
    found = prepare(problem.gram, problem.cross, 40, ScaledRidge(0.05), InverseHessian(SIGMA)).of(*inputs(problem))
    assert int(found.argmax()) == 17


def test_exposure_falls_as_the_square_of_the_number_of_records(ridge):
    """Ten times the records, the same kind: a hundredth of the exposure, within a factor of two."""
    median = []
    for n in (200, 2000):
        problem = ridge(n=n, d=5)
        version = prepare(problem.gram, problem.cross, n, ScaledRidge(0.05), InverseHessian(SIGMA))
        median.append(float(version.of(*inputs(problem)).median()))
    assert 50 < median[0] / median[1] < 200


def test_without_noise_it_is_infinite(ridge):
    problem = ridge(n=10, d=4)
    found = prepare(problem.gram, problem.cross, 10, ScaledRidge(0.05), Isotropic(0.0)).of(*inputs(problem))
    assert found.tolist() == [math.inf] * 10


def test_no_records_asked_no_values(ridge):
    problem = ridge(n=10, d=4)
    version = prepare(problem.gram, problem.cross, 10, ScaledRidge(0.05), Isotropic(1.0))
    phi, targets = inputs(problem)
    assert version.of(phi[:0], targets[:0]).shape == (0,)


def test_a_record_that_rounding_decides_about_is_refused(ridge):
    problem = ridge(n=10, d=4, mu=1e-9)
    problem.phi[3] *= 1e5
    version = prepare(problem.gram, problem.cross, 10, ScaledRidge(1e-9), InverseHessian(1.0))
    with pytest.raises(BoundRefused, match="leverage"):
        version.of(*inputs(problem))


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"count": 1}, OutOfRange),
        ({"ridge": ScaledRidge(0.0)}, OutOfRange),
        ({"ridge": FixedRidge(-1.0)}, OutOfRange),
        ({"noise": RootInverseHessian(1.0)}, OutOfRange),
        ({"gram": torch.zeros((4, 3), dtype=torch.float64)}, ShapeMismatch),
        ({"gram": torch.eye(4)}, ShapeMismatch),
        ({"cross": torch.zeros((3, 3), dtype=torch.float64)}, ShapeMismatch),
        ({"cross": torch.full((4, 3), math.nan, dtype=torch.float64)}, NonFinite),
    ],
)
def test_bad_versions_are_named(change, error, ridge):
    problem = ridge(n=10, d=4)
    arguments = {
        "gram": problem.gram,
        "cross": problem.cross,
        "count": 10,
        "ridge": ScaledRidge(0.05),
        "noise": Isotropic(1.0),
    } | change
    with pytest.raises(error):
        prepare(**arguments)


def test_bad_records_are_named(ridge):
    problem = ridge(n=10, d=4)
    version = prepare(problem.gram, problem.cross, 10, ScaledRidge(0.05), Isotropic(1.0))
    phi, targets = inputs(problem)
    for bad_phi, bad_targets, error in (
        (phi[:, :3], targets, ShapeMismatch),
        (phi, targets[:, :2], ShapeMismatch),
        (phi.float(), targets, ShapeMismatch),
        (phi, targets.float(), ShapeMismatch),
        (phi[:5], targets, ShapeMismatch),
        (phi * math.nan, targets, NonFinite),
        (phi, targets * math.inf, NonFinite),
    ):
        with pytest.raises(error):
            version.of(bad_phi, bad_targets)
