"""Every record left out alone, from one factorization, equals n refits."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.influence_cases import Case, cases, make_case

from unlearning.errors import OutOfRange
from unlearning.influence.fitted import Ridge
from unlearning.influence.leave_one_out import PerOutputChanges, SharedChanges, changes_of_each
from unlearning.influence.leave_out import change_of_weights
from unlearning.linear.features import PerOutputFeatures, SharedFeatures


def predictions(changes: SharedChanges | PerOutputChanges, at: SharedFeatures | PerOutputFeatures) -> torch.Tensor:
    if isinstance(changes, SharedChanges) and isinstance(at, SharedFeatures):
        return changes.predictions(at)
    assert isinstance(changes, PerOutputChanges)
    assert isinstance(at, PerOutputFeatures)
    return changes.predictions(at)


@given(case=cases(), block=st.integers(1, 30), ridge=st.sampled_from(Ridge))
def test_each_record_left_out_equals_its_refit(case: Case, block: int, ridge: Ridge) -> None:
    blocks = list(changes_of_each(case.fitted, ridge, block=block))
    found = torch.cat([changes.weights() for changes in blocks])
    moved = torch.cat([predictions(changes, case.at) for changes in blocks])
    assert found.shape == (case.fitted.count, *case.fitted.weights.shape)
    assert moved.shape == (case.fitted.count, case.at.count, case.at.outputs)
    allowed = case.tolerance(1, ridge, power=2)
    for i in range(case.fitted.count):
        truth = case.without(torch.tensor([i]), ridge) - case.fitted.weights
        assert float((found[i] - truth).norm()) < allowed
        assert float((moved[i] - case.at.apply(truth)).norm()) <= allowed * float(case.at.phi.norm())


@pytest.mark.parametrize("kind", ["shared", "per-output"])
@pytest.mark.parametrize("ridge", Ridge)
def test_the_only_record_leaves_the_reference(kind: str, ridge: Ridge) -> None:
    case = make_case(kind, n=1, d=4, classes=3, mu=0.1, seed=1)
    (changes,) = changes_of_each(case.fitted, ridge)
    truth = case.fitted.problem.reference - case.fitted.weights
    assert torch.equal(changes.weights()[0], truth)
    assert torch.allclose(predictions(changes, case.at)[0], case.at.apply(truth), rtol=1e-12, atol=1e-12)
    moment = torch.eye(4, dtype=torch.float64)
    assert float(changes.squared(moment)[0]) == pytest.approx(float(truth.square().sum()), rel=1e-12)


@pytest.mark.parametrize("kind", ["shared", "per-output"])
def test_the_two_ridges_and_the_sign_can_be_told_apart(kind: str) -> None:
    case = make_case(kind, n=12, d=5, classes=3, mu=0.1, seed=3)
    (changes,) = changes_of_each(case.fitted, Ridge.PER_RECORD)
    allowed = 1e3 * case.tolerance(1, Ridge.PER_RECORD, power=2)
    for i in range(12):
        truth = change_of_weights(case.fitted, torch.tensor([i]), Ridge.PER_RECORD)
        fixed = change_of_weights(case.fitted, torch.tensor([i]), Ridge.FIXED)
        assert float((changes.weights()[i] - truth).norm()) < allowed
        assert float((changes.weights()[i] + truth).norm()) > allowed
        assert float((changes.weights()[i] - fixed).norm()) > allowed
        assert float((changes.weights()[i] - changes.weights()[i - 1]).norm()) > allowed


def test_without_records_there_is_nothing_to_leave_out() -> None:
    assert list(changes_of_each(make_case("shared", n=0, d=4, classes=3, mu=0.1, seed=1).fitted)) == []


@pytest.mark.parametrize("block", [0, -1])
def test_a_block_has_records(block: int) -> None:
    case = make_case("shared", n=3, d=4, classes=3, mu=0.1, seed=1)
    with pytest.raises(OutOfRange, match="block"):
        changes_of_each(case.fitted, block=block)
