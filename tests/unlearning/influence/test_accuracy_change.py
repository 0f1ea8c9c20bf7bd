"""The change of accuracy is that of models that were really trained without the records."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.influence_cases import Case, cases, make_case

from unlearning.errors import NonFinite, OutOfRange, ShapeMismatch, UnlearningError
from unlearning.influence.accuracy_change import accuracy_change, accuracy_change_of_each
from unlearning.influence.fitted import Ridge


def accuracy(case: Case, weights: torch.Tensor) -> float:
    right = (case.core + case.at.apply(weights)).argmax(1) == case.labels
    return float(right.double().mean())


def unclear(case: Case, weights: torch.Tensor, error: float) -> int:
    """Count test records whose two largest outputs are closer than rounding allows to tell apart."""
    outputs = case.core + case.at.apply(weights)
    if outputs.shape[1] == 1:
        return 0
    first, second = outputs.topk(2).values.unbind(1)
    return int((first - second <= 2 * error * float(case.at.phi.norm())).sum())


@given(case=cases(), data=st.data(), ridge=st.sampled_from(Ridge))
def test_of_each_and_of_groups(case: Case, data: st.DataObject, ridge: Ridge) -> None:
    before = accuracy(case, case.fitted.weights)
    block = data.draw(st.integers(1, 30))
    each = accuracy_change_of_each(case.fitted, case.at, case.core, case.labels, ridge, block=block)
    assert each.shape == (case.fitted.count,)
    groups = [torch.tensor([i]) for i in range(case.fitted.count)]
    groups.append(torch.randperm(case.fitted.count)[: data.draw(st.integers(0, case.fitted.count - 1))])
    for i, group in enumerate(groups):
        left = case.without(group, ridge)
        slack = unclear(case, left, case.tolerance(int(group.numel()), ridge, power=2)) / case.at.count
        truth = accuracy(case, left) - before
        assert abs(accuracy_change(case.fitted, group, case.at, case.core, case.labels, ridge) - truth) <= slack + 1e-12
        if i < case.fitted.count:
            assert abs(float(each[i]) - truth) <= slack + 1e-12


@pytest.mark.parametrize("kind", ["shared", "per-output"])
def test_it_is_not_always_zero_and_its_sign_is_after_minus_before(kind: str) -> None:
    """With all records left out the core alone answers; here it is always right, and the records were not."""
    case = make_case(kind, n=12, d=5, classes=3, mu=0.1, seed=3, tests=50, referenced=False)
    core = torch.nn.functional.one_hot(case.labels, 3).double() * 1e-6
    found = accuracy_change(case.fitted, torch.arange(12), case.at, core, case.labels)
    assert found == pytest.approx(1.0 - accuracy(Case(case.fitted, case.at, core, case.labels), case.fitted.weights))
    assert found > 0.2
    each = accuracy_change_of_each(case.fitted, case.at, core, case.labels)
    assert len(set(each.tolist())) > 1


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"labels": torch.full((9,), 3)}, OutOfRange),
        ({"labels": torch.full((9,), -1)}, OutOfRange),
        ({"labels": torch.zeros(8, dtype=torch.int64)}, ShapeMismatch),
        ({"labels": torch.zeros(9)}, ShapeMismatch),
        ({"core": torch.zeros(9, 2, dtype=torch.float64)}, ShapeMismatch),
        ({"core": torch.full((9, 3), torch.nan, dtype=torch.float64)}, NonFinite),
        ({"at": "nobody"}, OutOfRange),
    ],
)
def test_what_are_no_test_records(change: dict[str, Any], problem: type[UnlearningError]) -> None:
    case = make_case("shared", n=4, d=5, classes=3, mu=0.1, seed=3)
    said: dict[str, Any] = {"at": case.at, "core": case.core, "labels": case.labels} | change
    if said["at"] == "nobody":
        said = {"at": case.at.take(torch.arange(0)), "core": case.core[:0], "labels": case.labels[:0]}
    with pytest.raises(problem):
        accuracy_change_of_each(case.fitted, **said)
    with pytest.raises(problem):
        accuracy_change(case.fitted, torch.arange(1), **said)
