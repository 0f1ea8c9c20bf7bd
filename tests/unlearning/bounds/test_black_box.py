"""All answers to one caller, jointly; and the two shortcuts that are no bounds."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unlearning.bounds.black_box import black_box
from unlearning.bounds.white_box import white_box
from unlearning.errors import NonFinite, ShapeMismatch
from unlearning.noise.covariance import InverseHessian, Isotropic, RootInverseHessian

KINDS = (Isotropic, RootInverseHessian, InverseHessian)


def moved_problem(ridge, seed=0, **shape):
    problem = ridge(seed=seed, **shape)
    off = torch.randn(problem.weights.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return problem, problem.gradient(problem.weights + 1e-2 * off)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("queries", [1, 2, 4])
def test_equals_the_divergence_of_the_answers(kind, queries, ridge, hessian_power, dense_kl):
    problem, residual = moved_problem(ridge)
    jacobian = torch.randn((queries, 5), generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    noise = kind(0.1)
    answers = jacobian @ (0.1**2 * hessian_power(problem.hessian, -noise.power)) @ jacobian.mT
    moved = jacobian @ torch.linalg.solve(problem.hessian, residual)
    truth = dense_kl(moved, answers, torch.zeros_like(moved), answers)
    found = black_box(jacobian, problem.hessian, residual, noise, mu=problem.mu, adaptive=False)
    assert found.joint
    assert found.bound.computed == pytest.approx(truth, rel=1e-8)
    assert truth * (1 - 1e-10) <= found.bound.nats <= truth * (1 + 1e-6)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), queries=st.integers(1, 8))
def test_never_above_white_box_and_grows_with_queries(kind, ridge, seed, queries):
    problem, residual = moved_problem(ridge, seed=seed, n=15, d=6, q=2)
    jacobian = torch.randn((queries, 6), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    white = white_box(problem.hessian, residual, kind(0.3), mu=problem.mu)
    few = black_box(jacobian[:-1], problem.hessian, residual, kind(0.3), mu=problem.mu, adaptive=False)
    more = black_box(jacobian, problem.hessian, residual, kind(0.3), mu=problem.mu, adaptive=False)
    assert few.bound.nats <= more.bound.nats * (1 + 1e-6)
    assert more.bound.nats <= white.nats


@pytest.mark.parametrize("kind", KINDS)
def test_as_many_queries_as_features_recover_the_weights(kind, ridge):
    problem, residual = moved_problem(ridge)
    jacobian = torch.randn((5, 5), generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    white = white_box(problem.hessian, residual, kind(0.1), mu=problem.mu)
    found = black_box(jacobian, problem.hessian, residual, kind(0.1), mu=problem.mu, adaptive=False)
    assert found.bound.nats == pytest.approx(white.nats, rel=1e-6)


def test_neither_per_query_values_nor_a_pseudo_inverse_bound_two_nearly_equal_queries():
    """Two queries 1e-8 apart. Each alone shows 1e-16 nats or nothing; together they show the whole distance, 1 nat."""
    jacobian = torch.tensor([[1.0, 0.0], [1.0, 1e-8]], dtype=torch.float64)
    distance = torch.tensor([[0.0], [math.sqrt(2.0)]], dtype=torch.float64)
    identity = torch.eye(2, dtype=torch.float64)  # H = Sigma = I, so the residual is the distance

    answers = jacobian @ jacobian.mT
    moved = jacobian @ distance
    by_pseudo_inverse = 0.5 * float((moved * (torch.linalg.pinv(answers) @ moved)).sum())
    each = [black_box(row[None], identity, distance, Isotropic(1.0), mu=1.0, adaptive=False) for row in jacobian]
    together = black_box(jacobian, identity, distance, Isotropic(1.0), mu=1.0, adaptive=False)

    assert by_pseudo_inverse < 1e-15
    assert sum(one.bound.computed for one in each) < 1e-15
    assert together.bound.computed == pytest.approx(1.0, rel=1e-6)
    assert together.bound.nats >= 1.0


def test_dependent_queries_take_the_white_box_value(ridge):
    problem, residual = moved_problem(ridge)
    once = torch.ones((1, 5), dtype=torch.float64)
    noise = InverseHessian(0.1)
    white = white_box(problem.hessian, residual, noise, mu=problem.mu)
    for queries in (once.repeat(2, 1), torch.cat([once, 0 * once])):
        found = black_box(queries, problem.hessian, residual, noise, mu=problem.mu, adaptive=False)
        assert not found.joint
        assert found.bound == white


def test_adaptive_or_too_many_queries_take_the_white_box_value(ridge):
    problem, residual = moved_problem(ridge)
    noise = InverseHessian(0.1)
    white = white_box(problem.hessian, residual, noise, mu=problem.mu)
    jacobian = torch.randn((6, 5), generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    for queries, adaptive in ((jacobian, False), (jacobian[:1], True)):
        found = black_box(queries, problem.hessian, residual, noise, mu=problem.mu, adaptive=adaptive)
        assert not found.joint
        assert found.bound == white


def test_no_query_tells_nothing_and_no_noise_hides_nothing(ridge):
    problem, residual = moved_problem(ridge)
    none = torch.zeros((0, 5), dtype=torch.float64)
    assert black_box(none, problem.hessian, residual, Isotropic(1.0), mu=problem.mu, adaptive=True).bound.nats == 0.0
    one = torch.ones((1, 5), dtype=torch.float64)
    bare = black_box(one, problem.hessian, residual, Isotropic(0.0), mu=problem.mu, adaptive=False)
    assert bare.bound.nats == math.inf


def test_errors_of_the_inputs_are_added(ridge):
    problem, residual = moved_problem(ridge)
    jacobian = torch.ones((1, 5), dtype=torch.float64)
    for name in ("residual_error", "hessian_error"):
        exact = black_box(jacobian, problem.hessian, residual, InverseHessian(0.1), mu=problem.mu, adaptive=False)
        rough = black_box(
            jacobian, problem.hessian, residual, InverseHessian(0.1), mu=problem.mu, adaptive=False, **{name: 1e-5}
        )
        assert rough.bound.nats > exact.bound.nats * (1 + 1e-6)


def test_bad_jacobians_are_named(ridge):
    problem, residual = moved_problem(ridge)
    for jacobian, error in (
        (torch.ones((1, 4), dtype=torch.float64), ShapeMismatch),
        (torch.ones((1, 5)), ShapeMismatch),
        (torch.full((1, 5), math.nan, dtype=torch.float64), NonFinite),
    ):
        with pytest.raises(error):
            black_box(jacobian, problem.hessian, residual, Isotropic(1.0), mu=problem.mu, adaptive=False)
