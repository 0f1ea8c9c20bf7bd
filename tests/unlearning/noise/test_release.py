"""The public grid."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unlearning.errors import NonFinite, OutOfRange, ShapeMismatch
from unlearning.noise.covariance import InverseHessian, Isotropic
from unlearning.noise.release import FINER, ReleaseGrid, grid_for

GRID = ReleaseGrid(2.0**-10, 8.0)


@given(st.lists(st.floats(-20, 20), min_size=1, max_size=20))
def test_every_released_number_is_a_grid_point(values):
    weights = torch.tensor(values, dtype=torch.float64)
    released = GRID.release(weights)
    assert torch.equal(released * 2**10, torch.round(released * 2**10))
    assert torch.equal(GRID.release(released), released)
    inside = weights.abs() <= 8.0
    assert bool(((released - weights)[inside].abs() <= 2.0**-11).all())
    assert bool((released.abs() <= 8.0).all())


def test_what_lies_below_the_step_is_gone():
    base = torch.tensor([0.123456, -3.3, 0.0], dtype=torch.float64)
    assert GRID.release(base).numpy().tobytes() == GRID.release(base + 1e-12).numpy().tobytes()
    assert not torch.equal(GRID.release(base), GRID.release(base + 2.0**-10))


def test_zero_has_one_sign():
    released = GRID.release(torch.tensor([-1e-9, 1e-9, -0.0], dtype=torch.float64))
    assert not bool(torch.signbit(released).any())


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_non_finite_weights_are_refused(bad):
    with pytest.raises(NonFinite, match="1 values"):
        GRID.release(torch.tensor([1.0, bad], dtype=torch.float64))


def test_single_precision_is_refused():
    with pytest.raises(ShapeMismatch):
        GRID.release(torch.zeros(3))


@pytest.mark.parametrize(
    ("step", "limit"), [(0.3, 3.0), (0.0, 1.0), (-0.5, 1.0), (0.5, 0.7), (0.5, 0.0), (0.5, 2.0**50)]
)
def test_bad_grids_are_named(step, limit):
    with pytest.raises(OutOfRange):
        ReleaseGrid(step, limit)


@given(sigma=st.floats(1e-6, 1e3), mu=st.floats(1e-6, 1.0), more=st.floats(1.0, 1e4))
def test_the_grid_is_finer_than_the_smallest_noise(sigma, mu, more):
    grid = grid_for(InverseHessian(sigma), mu=mu, largest_eigenvalue=mu * more)
    smallest = sigma / math.sqrt(mu * more)
    assert smallest * FINER / 2 <= grid.step <= smallest * FINER
    assert grid_for(Isotropic(sigma), mu=mu, largest_eigenvalue=mu * more).step >= sigma * FINER / 2


def test_a_grid_needs_noise_and_public_constants():
    for arguments in ({"mu": 0.0, "largest_eigenvalue": 1.0}, {"mu": 1.0, "largest_eigenvalue": 0.5}):
        with pytest.raises(OutOfRange):
            grid_for(Isotropic(1.0), **arguments)
    with pytest.raises(OutOfRange, match="without noise"):
        grid_for(Isotropic(0.0), mu=1.0, largest_eigenvalue=1.0)
