"""The retained quadratic against automatic differentiation, its residual bound against more precise arithmetic."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from unlearning.errors import NonFinite, OutOfRange, ShapeMismatch
from unlearning.linear.features import SharedFeatures
from unlearning.linear.problem import RetainedProblem

Maker = Callable[..., RetainedProblem]


@pytest.mark.parametrize("per_output", [False, True])
def test_gradient_and_hessian_are_those_of_the_loss(make_problem: Maker, per_output: bool) -> None:
    problem = make_problem(per_output=per_output, reference=True, mu=0.3)
    w = torch.randn(*problem.features.weight_shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    phi = problem.features.phi  # type: ignore[attr-defined]  # both kinds of features have it

    def loss(weights: Tensor) -> Tensor:
        outputs = (phi @ weights).squeeze(-1) if per_output else phi @ weights
        misfit = (outputs - problem.targets).square().sum() / (2 * problem.count)
        return misfit + problem.mu / 2 * (weights - problem.reference).square().sum()

    assert math.isclose(problem.loss(w), float(loss(w)), rel_tol=1e-12)
    (gradient,) = torch.autograd.grad(loss(w.requires_grad_()), w)
    torch.testing.assert_close(problem.gradient(w.detach()), gradient)
    direction = torch.ones_like(w)
    _, product = torch.autograd.functional.hvp(loss, w.detach(), direction)
    torch.testing.assert_close(problem.hessian_product(direction), product)


def test_without_records_only_the_reference_is_left(make_problem: Maker) -> None:
    whole = make_problem(reference=True)
    none = RetainedProblem(whole.features.take(torch.arange(0)), whole.targets[:0], whole.mu, whole.reference)
    assert none.loss(whole.reference) == 0.0
    assert none.measured(whole.reference).norm == 0.0
    away = whole.reference + 1.0
    torch.testing.assert_close(none.gradient(away), torch.full_like(away, whole.mu))
    torch.testing.assert_close(none.hessian_product(away), whole.mu * away)
    assert none.measured(away).bound >= whole.mu * math.sqrt(away.numel()) * (1 - 1e-15)


@pytest.mark.parametrize("per_output", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_the_residual_bound_holds_in_more_precise_arithmetic(
    make_problem: Maker, dense: Callable[..., tuple[Tensor, Tensor]], per_output: bool, seed: int
) -> None:
    """At the dense solution, where cancellation is worst, long double shows what float64 lost."""
    problem = make_problem(per_output=per_output, seed=seed, condition=1e8, mu=1e-6, reference=True)
    _, w = dense(problem)
    measured = problem.measured(w)
    phi = problem.features.phi.numpy().astype(np.longdouble)  # type: ignore[attr-defined]  # both kinds have it
    weights, targets = w.numpy().astype(np.longdouble), problem.targets.numpy().astype(np.longdouble)
    outputs = (phi @ weights).reshape(targets.shape)
    errors = outputs - targets
    rows = phi.reshape(-1, phi.shape[-1])
    adjoint = rows.T @ errors.reshape(rows.shape[0], -1)
    gradient = adjoint / problem.count + np.longdouble(problem.mu) * (weights - problem.reference.numpy())
    true = float(np.sqrt(np.sum(gradient**2)))
    assert abs(true - measured.norm) <= measured.float_error
    assert 0 < measured.float_error < 1e-11
    assert np.finfo(np.longdouble).eps < 1e-18, "long double is no wider than float64 here"


@pytest.mark.parametrize("mu", [0.0, -1.0, math.nan, math.inf])
def test_a_ridge_that_is_not_positive_is_refused_before_any_pass(
    make_problem: Maker, counting: type, mu: float
) -> None:
    whole = make_problem()
    features = counting(whole.features)
    with pytest.raises(OutOfRange):
        RetainedProblem(features, whole.targets, mu)
    assert features.passes == 0


def test_wrong_targets_and_references_are_refused_before_any_pass(make_problem: Maker, counting: type) -> None:
    whole = make_problem()
    features = counting(whole.features)
    broken = whole.targets.clone()
    broken[0, 0] = math.inf
    with pytest.raises(NonFinite):
        RetainedProblem(features, broken, 0.1)
    with pytest.raises(ShapeMismatch):
        RetainedProblem(features, whole.targets[1:], 0.1)
    with pytest.raises(ShapeMismatch):
        RetainedProblem(features, whole.targets.float(), 0.1)
    with pytest.raises(ShapeMismatch):
        RetainedProblem(features, whole.targets, 0.1, whole.reference[1:])
    with pytest.raises(NonFinite):
        RetainedProblem(features, whole.targets, 0.1, torch.full_like(whole.reference, math.nan))
    assert features.passes == 0


def test_features_with_unknown_entries_have_no_bound(make_problem: Maker, counting: type) -> None:
    whole = make_problem()
    with pytest.raises(OutOfRange, match="known entries"):
        RetainedProblem(counting(whole.features), whole.targets, 0.1).measured(whole.reference)


def test_many_records_are_measured_in_blocks() -> None:
    """More records than a block holds give the same bound as their two halves would, added."""
    generator = torch.Generator().manual_seed(0)
    phi = torch.randn(5000, 3, generator=generator, dtype=torch.float64)
    targets = torch.randn(5000, 2, generator=generator, dtype=torch.float64)
    w = torch.randn(3, 2, generator=generator, dtype=torch.float64)
    found = RetainedProblem(SharedFeatures(phi, 2), targets, 0.1).measured(w)
    exact = phi.numpy().astype(np.longdouble)
    gradient = exact.T @ (exact @ w.numpy() - targets.numpy()) / 5000 + np.longdouble(0.1) * w.numpy()
    assert abs(float(np.sqrt(np.sum(gradient**2))) - found.norm) <= found.float_error < 1e-10
