"""F-SI is what predictions really change by when a record is missing in training."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.influence_cases import EPS, Case, cases, make_case

from unlearning.errors import OutOfRange, ShapeMismatch
from unlearning.influence.fitted import Ridge, fit
from unlearning.influence.informativeness import informativeness
from unlearning.linear.features import SharedFeatures


@given(case=cases(least=1), block=st.integers(1, 30), ridge=st.sampled_from(Ridge))
def test_it_is_the_mean_squared_change_of_predictions(case: Case, block: int, ridge: Ridge) -> None:
    found = informativeness(case.fitted, case.at, ridge, block=block)
    assert found.shape == (case.fitted.count,)
    assert bool((found >= 0).all())
    only = case.fitted.count == 1
    allowed = 1e-12 if only else case.tolerance(1, ridge, power=2)
    weights, phi = case.fitted.weights, float(case.at.phi.norm())
    for i in range(case.fitted.count):
        left = case.fitted.problem.reference if only else case.without(torch.tensor([i]), ridge)
        truth = case.at.apply(left - weights).square().sum(1).mean()
        size = phi * float((left - weights).norm() + weights.norm())
        error = allowed * phi
        # the square of a value with this error, and the cancellation between the parts of the square
        assert abs(float(found[i] - truth)) <= 4 * error * (size + error) + 1e4 * EPS * size**2


@pytest.mark.parametrize("kind", ["shared", "per-output"])
def test_a_surprising_record_is_the_most_informative(kind: str) -> None:
    case = make_case(kind, n=12, d=5, classes=3, mu=0.1, seed=3)
    targets = case.fitted.problem.targets.clone()
    targets[7] += 50.0
    found = informativeness(fit(case.fitted.features, targets, 0.1), case.at)
    assert int(found.argmax()) == 7
    assert not torch.equal(found, informativeness(case.fitted, case.at))


def test_the_validation_records_must_be_there_and_of_the_same_map() -> None:
    case = make_case("shared", n=3, d=4, classes=3, mu=0.1, seed=1)
    with pytest.raises(OutOfRange, match="validation"):
        informativeness(case.fitted, SharedFeatures(torch.zeros(0, 4, dtype=torch.float64), 3))
    with pytest.raises(ShapeMismatch):
        informativeness(case.fitted, SharedFeatures(torch.zeros(2, 4, dtype=torch.float64), 2))


def test_of_nobody_there_is_nothing() -> None:
    case = make_case("shared", n=0, d=4, classes=3, mu=0.1, seed=1)
    assert informativeness(case.fitted, case.at).shape == (0,)
