"""Leaving a group out equals really refitting without it."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.influence_cases import Case, cases, make_case

from unlearning.errors import NonFinite, OutOfRange, ProblemRefused, ShapeMismatch, UnlearningError
from unlearning.influence.fitted import Ridge, factor, fit
from unlearning.influence.leave_out import change_of_predictions, change_of_weights
from unlearning.linear.features import PerOutputFeatures, SharedFeatures

KINDS = ["shared", "per-output"]


def some(count: int, size: int, seed: int) -> torch.Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))[:size]


@given(case=cases(), data=st.data(), ridge=st.sampled_from(Ridge))
def test_a_group_left_out_equals_a_refit_without_it(case: Case, data: st.DataObject, ridge: Ridge) -> None:
    size = data.draw(st.integers(0, case.fitted.count - 1))
    group = some(case.fitted.count, size, seed=data.draw(st.integers(0, 1000)))
    allowed = case.tolerance(size, ridge)
    refitted = case.without(group, ridge)
    change = change_of_weights(case.fitted, group, ridge)
    assert float((case.fitted.weights + change - refitted).norm()) < allowed
    moved = change_of_predictions(case.fitted, group, case.at, ridge)
    truth = case.at.apply(refitted - case.fitted.weights)
    assert float((moved - truth).norm()) <= allowed * float(case.at.phi.norm())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ridge", Ridge)
def test_without_every_record_the_reference_is_left_exactly(kind: str, ridge: Ridge) -> None:
    case = make_case(kind, n=6, d=4, classes=3, mu=0.1, seed=1)
    change = change_of_weights(case.fitted, torch.arange(6), ridge)
    assert torch.equal(change, case.fitted.problem.reference - case.fitted.weights)
    nobody = make_case(kind, n=0, d=4, classes=3, mu=0.1, seed=1)
    assert torch.equal(nobody.fitted.weights, nobody.fitted.problem.reference)
    assert not change_of_weights(nobody.fitted, torch.arange(0), ridge).any()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ridge", Ridge)
def test_nobody_left_out_changes_nothing(kind: str, ridge: Ridge) -> None:
    case = make_case(kind, n=6, d=4, classes=3, mu=0.1, seed=1)
    assert not change_of_weights(case.fitted, torch.arange(0), ridge).any()


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_formulas_stand_out(kind: str) -> None:
    """Negative controls: eq. 5.7 as printed, a wrong sign, n or ridge are far beyond rounding."""
    case = make_case(kind, n=12, d=5, classes=3, mu=0.1, seed=3)
    fitted, group = case.fitted, torch.arange(4)
    ridge = Ridge.PER_RECORD
    truth = case.without(group, ridge)
    allowed = 1e3 * case.tolerance(4, ridge)
    change = change_of_weights(fitted, group, ridge)
    assert float((fitted.weights + change - truth).norm()) < case.tolerance(4, ridge)
    rows = fitted.features.take(group)
    lower = factor(fitted.gram - rows.phi.reshape(-1, 5).mT @ rows.phi.reshape(-1, 5), 8 * 0.1)
    without_errors = torch.cholesky_solve(rows.adjoint(torch.ones(4, 3, dtype=torch.float64)), lower)
    wrong = {
        "sign": fitted.weights - change,
        "half a step": fitted.weights + change / 2,
        "no error factor, as printed": fitted.weights + without_errors,
        "fixed ridge": fitted.weights + change_of_weights(fitted, group, Ridge.FIXED),
        "one record too few": fitted.weights + change_of_weights(fitted, group[:3], ridge),
        "another mu": fit(
            fitted.features.take(torch.arange(4, 12)),
            fitted.problem.targets[4:],
            0.1 * 12 / 8,
            fitted.problem.reference,
        ).weights,
    }
    for name, weights in wrong.items():
        assert float((weights - truth).norm()) > allowed, name


@pytest.mark.parametrize("mu", [0.0, -1.0, math.inf, math.nan])
def test_a_ridge_that_is_none(mu: float) -> None:
    with pytest.raises(OutOfRange, match="mu"):
        fit(SharedFeatures(torch.ones(2, 2, dtype=torch.float64), 2), torch.ones(2, 2, dtype=torch.float64), mu)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_number(kind: str) -> None:
    case = make_case(kind, n=4, d=2, classes=2, mu=1.0, seed=0)
    targets = case.fitted.problem.targets.clone()
    targets[1, 0] = math.nan
    with pytest.raises(NonFinite):
        fit(case.fitted.features, targets, 1.0)
    phi = case.fitted.features.phi.clone()
    phi[0, 0] = math.inf
    with pytest.raises(NonFinite):
        SharedFeatures(phi, 2) if kind == "shared" else PerOutputFeatures(phi)


@pytest.mark.parametrize(
    ("group", "problem"),
    [
        (torch.arange(7), OutOfRange),
        (torch.tensor([6]), OutOfRange),
        (torch.tensor([-1]), OutOfRange),
        (torch.tensor([2, 2]), OutOfRange),
        (torch.tensor([0.0]), ShapeMismatch),
        (torch.tensor([[0]]), ShapeMismatch),
        (torch.tensor([True, False, False, False, False, False]), ShapeMismatch),
    ],
)
def test_groups_that_are_none(group: torch.Tensor, problem: type[UnlearningError]) -> None:
    case = make_case("shared", n=6, d=4, classes=3, mu=0.1, seed=1)
    with pytest.raises(problem):
        change_of_weights(case.fitted, group)


def test_features_of_another_map_are_refused() -> None:
    case = make_case("shared", n=6, d=4, classes=1, mu=0.1, seed=1)
    per_output = make_case("per-output", n=2, d=4, classes=1, mu=1.0, seed=0).at
    for other in (SharedFeatures(torch.ones(2, 5, dtype=torch.float64), 1), per_output):
        with pytest.raises(ShapeMismatch):
            change_of_predictions(case.fitted, torch.arange(1), other)


def test_a_system_that_float64_cannot_factor_is_refused() -> None:
    features = SharedFeatures(1e9 * torch.ones(3, 2, dtype=torch.float64), 2)
    with pytest.raises(ProblemRefused, match="negative pivot"):
        fit(features, torch.ones(3, 2, dtype=torch.float64), 1e-9)
