"""Forgetting done wrongly has a residual far above the budget on the retained records: each way is detected."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from unlearning.errors import BudgetMissed
from unlearning.linear.features import Features
from unlearning.linear.krylov import solve_krylov
from unlearning.linear.problem import RetainedProblem
from unlearning.linear.solution import Stop, settle

BUDGET = 1e-9


@pytest.fixture(scope="module", params=[False, True], ids=["shared", "per output"])
def whole(request: pytest.FixtureRequest, make_problem: Callable[..., RetainedProblem]) -> RetainedProblem:
    """60 records."""
    return make_problem(n=60, per_output=request.param, condition=1e2, mu=1e-2)


def part(whole: RetainedProblem, index: Tensor) -> RetainedProblem:
    return RetainedProblem(whole.features.take(index), whole.targets[index], whole.mu)


@pytest.fixture(scope="module")
def retained(whole: RetainedProblem) -> RetainedProblem:
    """All but the first three."""
    return part(whole, torch.arange(3, 60))


@pytest.fixture(scope="module")
def trained(whole: RetainedProblem) -> Tensor:
    """The optimum of all 60."""
    return solve_krylov(whole, budget=BUDGET).weights


@pytest.fixture(scope="module")
def scrubbed(retained: RetainedProblem, trained: Tensor) -> Tensor:
    """The optimum of the retained, by the honest solver."""
    return solve_krylov(retained, budget=BUDGET, start=trained).weights


class TargetLeftIn(RetainedProblem):
    """The first record's features have left, but its target still pulls."""

    def __init__(self, whole: RetainedProblem) -> None:
        """Remember what its target adds to the gradient."""
        rest = part(whole, torch.arange(1, 60))
        super().__init__(rest.features, rest.targets, whole.mu)
        first = torch.arange(1)
        object.__setattr__(self, "pull", whole.features.take(first).adjoint(whole.targets[first]) / rest.count)

    def gradient(self, weights: Tensor) -> Tensor:
        """As if its target were still in the sum."""
        pull: Tensor = self.pull  # type: ignore[attr-defined]  # set above
        return super().gradient(weights) - pull

    def measured(self, weights: Tensor):  # type: ignore[no-untyped-def]  # a stand-in
        """Believe oneself."""
        found = super().measured(weights)
        return type(found)(float(torch.linalg.norm(self.gradient(weights))), found.float_error * 2)


def test_the_honest_step_passes(retained: RetainedProblem, scrubbed: Tensor) -> None:
    solution = settle(scrubbed, retained.measured(scrubbed), budget=BUDGET, reason=Stop.REACHED, iterations=0)
    assert solution.residual_bound <= BUDGET


def skipped(trained: Tensor, scrubbed: Tensor) -> Tensor:
    return trained


def half_step(trained: Tensor, scrubbed: Tensor) -> Tensor:
    return trained + 0.5 * (scrubbed - trained)


def wrong_sign(trained: Tensor, scrubbed: Tensor) -> Tensor:
    return trained - (scrubbed - trained)


@pytest.mark.parametrize("faulty", [skipped, half_step, wrong_sign])
def test_a_faulty_step_is_detected(
    retained: RetainedProblem, trained: Tensor, scrubbed: Tensor, faulty: Callable[[Tensor, Tensor], Tensor]
) -> None:
    weights = faulty(trained, scrubbed)
    assert retained.measured(weights).norm > 1e5 * BUDGET
    with pytest.raises(BudgetMissed):
        settle(weights, retained.measured(weights), budget=BUDGET, reason=Stop.REACHED, iterations=1)


def test_a_record_left_in_is_detected(whole: RetainedProblem, retained: RetainedProblem) -> None:
    left_in = solve_krylov(part(whole, torch.arange(2, 60)), budget=BUDGET).weights
    assert retained.measured(left_in).norm > 1e5 * BUDGET


def test_a_target_left_in_is_detected(whole: RetainedProblem) -> None:
    faulty = TargetLeftIn(whole)
    weights = solve_krylov(faulty, budget=BUDGET).weights
    assert faulty.measured(weights).bound <= BUDGET, "by its own residual it looks right"
    assert part(whole, torch.arange(1, 60)).measured(weights).norm > 1e5 * BUDGET


def test_a_residual_on_the_wrong_set_is_detected(
    whole: RetainedProblem, retained: RetainedProblem, trained: Tensor, scrubbed: Tensor
) -> None:
    """The trained weights pass on all records, the scrubbed ones on the retained; crosswise both fail."""
    assert whole.measured(trained).bound <= BUDGET
    assert retained.measured(trained).norm > 1e5 * BUDGET
    assert whole.measured(scrubbed).norm > 1e5 * BUDGET


def test_descent_over_the_wrong_records_never_meets_the_budget(
    whole: RetainedProblem, retained: RetainedProblem
) -> None:
    """Products over all records with the retained gradient still land: the residual decides, not the products."""

    class WrongProducts(RetainedProblem):
        """The Hessian of all records."""

        def hessian_product(self, direction: Tensor) -> Tensor:
            """Over records that should be gone."""
            return whole.hessian_product(direction)

    features: Features = retained.features
    mixed = WrongProducts(features, retained.targets, retained.mu)
    weights = solve_krylov(mixed, budget=BUDGET).weights
    assert retained.measured(weights).bound <= BUDGET
