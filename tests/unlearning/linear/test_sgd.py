"""The paper's descent on the auxiliary quadratic: it lands on the dense solution, or it is no result."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from unlearning.errors import BudgetMissed, NonFinite, OutOfRange, ShapeMismatch
from unlearning.linear import batches
from unlearning.linear.problem import RetainedProblem
from unlearning.linear.sgd import (
    PAPER_BATCH,
    PAPER_PLAN,
    PAPER_PLAN_FINE_GRAINED,
    ResidualGradient,
    SgdPlan,
    a_priori_plan,
    run_round,
    smoothness,
    solve_sgd,
)
from unlearning.linear.solution import Stop

Maker = Callable[..., RetainedProblem]
Dense = Callable[[RetainedProblem], tuple[Tensor, Tensor]]
MU = 0.1


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def safe_plan(problem: RetainedProblem, **other: object) -> SgdPlan:
    """A step that no minibatch can make unstable, and rounds enough."""
    norm = problem.features.largest_record_norm()  # type: ignore[attr-defined]  # both kinds have it
    plan = SgdPlan(step=1.0 / smoothness(norm, problem.mu), epochs=10, most_rounds=500)
    return replace(plan, **other)  # type: ignore[arg-type]  # names of fields


@pytest.mark.parametrize("per_output", [False, True])
@pytest.mark.parametrize("reference", [False, True])
@pytest.mark.parametrize("sampling", [batches.shuffled, batches.drawn])
@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_rounds_with_the_complete_gradient_land_on_the_dense_solution(
    make_problem: Maker, dense: Dense, tolerance: Callable[..., float],
    per_output: bool, reference: bool, sampling: Callable[..., batches.Batches], momentum: float,
) -> None:  # fmt: skip
    problem = make_problem(per_output=per_output, condition=10, mu=MU, reference=reference)
    hessian, expected = dense(problem)
    passes = sampling(problem.features, problem.targets, 8)
    start = 5 * torch.ones_like(expected)
    plan = safe_plan(problem, momentum=momentum)
    plan = replace(plan, step=plan.step * (1 - momentum))
    solution = solve_sgd(problem, passes, plan, budget=1e-10, generator=seeded(), start=start)
    assert solution.reason is Stop.REACHED
    assert solution.residual_bound <= 1e-10
    distance = float(torch.linalg.norm(solution.weights - expected))
    assert distance <= tolerance(hessian, expected, MU, solution.residual_bound)


def test_one_round_is_the_papers_update(make_problem: Maker) -> None:
    """Two steps by hand: v1 = s g, v2 = v1 - s (m (-g) + H_B v1 - g), with the complete g and H of the batch."""
    problem = make_problem(n=4, mu=MU)
    plan = SgdPlan(step=0.01, epochs=2, momentum=0.9, decay=0.5)
    w = torch.ones(problem.features.weight_shape, dtype=torch.float64)
    moved, steps = run_round(problem, batches.shuffled(problem.features, problem.targets, 4), plan, w, seeded())
    g = problem.gradient(w)
    v1 = 0.01 * g
    v2 = v1 - 0.005 * (0.9 * -g + problem.hessian_product(v1) - g)
    assert steps == 2
    torch.testing.assert_close(moved, w - v2)


def test_the_stochastic_gradient_is_that_of_the_batch(make_problem: Maker, dense: Dense) -> None:
    """With every record in the batch both ways are one; with fewer the stochastic way has noise that does not shrink.

    The noise of the complete way is proportional to the step still to make, which is small after a deletion.
    """
    problem = make_problem(mu=MU, condition=10)
    w = dense(problem)[1] + 0.01
    plan = safe_plan(problem, most_rounds=1)
    sampled = replace(plan, residual_gradient=ResidualGradient.STOCHASTIC)
    whole = batches.shuffled(problem.features, problem.targets, problem.count)
    complete, _ = run_round(problem, whole, plan, w, seeded())
    stochastic, _ = run_round(problem, whole, sampled, w, seeded())
    torch.testing.assert_close(stochastic, complete)
    few = batches.shuffled(problem.features, problem.targets, 4)
    complete, _ = run_round(problem, few, replace(plan, epochs=100), w, seeded())
    stochastic, _ = run_round(problem, few, replace(sampled, epochs=100), w, seeded())
    assert problem.measured(complete).norm < problem.measured(stochastic).norm


def test_the_stochastic_gradient_is_no_result_unless_it_is_measured_to_be_one(make_problem: Maker) -> None:
    problem = make_problem(mu=MU, condition=10)
    plan = safe_plan(problem, residual_gradient=ResidualGradient.STOCHASTIC, most_rounds=30)
    passes = batches.shuffled(problem.features, problem.targets, 4)
    with pytest.raises(BudgetMissed, match=Stop.STAGNATED.value) as missed:
        solve_sgd(problem, passes, plan, budget=1e-10, generator=seeded())
    loose = 1.01 * missed.value.residual_bound
    solution = solve_sgd(problem, passes, plan, budget=loose, generator=seeded())
    assert problem.measured(solution.weights).bound <= loose


def test_the_papers_constants() -> None:
    assert PAPER_BATCH == 64
    assert (PAPER_PLAN.step, PAPER_PLAN.epochs, PAPER_PLAN.momentum, PAPER_PLAN.decay) == (0.01, 3, 0.999, 0.5)
    assert (PAPER_PLAN_FINE_GRAINED.step, PAPER_PLAN_FINE_GRAINED.epochs) == (0.025, 4)
    assert PAPER_PLAN.residual_gradient is ResidualGradient.COMPLETE
    assert PAPER_PLAN.most_rounds == 1


def test_the_a_priori_plan_contracts_as_fast_as_promised(make_problem: Maker, dense: Dense) -> None:
    """||w_tau - w*||^2 falls at least by gamma^tau with full batches, gamma = 1 - mu^2 / beta^2, from public clips."""
    problem = make_problem(n=10, width=3, condition=3, mu=1.0)
    norm = problem.features.largest_record_norm()  # type: ignore[attr-defined]  # both kinds have it
    plan = a_priori_plan(record_norm=norm, mu=1.0, epochs=200)
    beta = norm**2 + 1.0
    assert plan.step == 1.0 / beta**2
    assert plan.momentum == 0.0
    _, expected = dense(problem)
    start = expected + 1.0
    moved, steps = run_round(problem, batches.shuffled(problem.features, problem.targets, 10), plan, start, seeded())
    before, after = (float(torch.linalg.norm(w - expected)) ** 2 for w in (start, moved))
    assert after <= (1 - 1.0 / beta**2) ** steps * before
    assert after < 0.9 * before


def test_too_large_a_step_diverges_and_is_no_result(make_problem: Maker) -> None:
    problem = make_problem(mu=MU, condition=1e3)
    plan = SgdPlan(step=10.0, epochs=5, most_rounds=50)
    with pytest.raises(BudgetMissed, match=Stop.DIVERGED.value):
        solve_sgd(
            problem, batches.shuffled(problem.features, problem.targets, 8), plan, budget=1e-8, generator=seeded()
        )


def test_used_up_rounds_and_float_error_are_no_result(make_problem: Maker) -> None:
    problem = make_problem(mu=MU, condition=10)
    passes = batches.shuffled(problem.features, problem.targets, 8)
    with pytest.raises(BudgetMissed, match=Stop.ITERATIONS_EXHAUSTED.value):
        solve_sgd(problem, passes, safe_plan(problem, most_rounds=2), budget=1e-10, generator=seeded())
    with pytest.raises(BudgetMissed, match=Stop.FLOAT_ERROR.value):
        solve_sgd(problem, passes, safe_plan(problem), budget=1e-14, generator=seeded())


def test_without_records_it_is_the_reference(make_problem: Maker) -> None:
    whole = make_problem(reference=True)
    none = RetainedProblem(whole.features.take(torch.arange(0)), whole.targets[:0], whole.mu, whole.reference)
    passes = batches.shuffled(none.features, none.targets, 8)
    solution = solve_sgd(none, passes, safe_plan(whole), budget=1e-9, generator=seeded(), start=whole.reference + 1)
    assert torch.equal(solution.weights, whole.reference)


def test_a_pass_shows_each_record_once_or_draws_as_many(make_problem: Maker) -> None:
    problem = make_problem(n=21)
    shown = [targets for _, targets in batches.shuffled(problem.features, problem.targets, 8)(seeded())]
    assert [len(part) for part in shown] == [8, 8, 5]
    assert {tuple(row) for row in torch.cat(shown).tolist()} == {tuple(row) for row in problem.targets.tolist()}
    drawn = list(batches.drawn(problem.features, problem.targets, 8)(seeded()))
    assert [features.count for features, _ in drawn] == [8, 8, 8]
    with pytest.raises(OutOfRange):
        batches.shuffled(problem.features, problem.targets, 0)
    with pytest.raises(OutOfRange):
        batches.drawn(problem.features, problem.targets, 0)


@pytest.mark.parametrize(
    "wrong",
    [{"step": 0.0}, {"step": math.nan}, {"momentum": 1.0}, {"momentum": -0.1}, {"decay": 0.0}, {"decay": 1.1},
     {"epochs": 0}, {"most_rounds": 0}],
)  # fmt: skip
def test_a_plan_that_makes_no_sense_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(OutOfRange):
        replace(PAPER_PLAN, **wrong)  # type: ignore[arg-type]  # names of fields


def test_bad_input_is_refused_before_any_pass(make_problem: Maker, counting: type) -> None:
    whole = make_problem()
    features = counting(whole.features)
    problem = RetainedProblem(features, whole.targets, whole.mu)
    passes = batches.shuffled(features, whole.targets, 8)
    with pytest.raises(OutOfRange):
        solve_sgd(problem, passes, PAPER_PLAN, budget=0.0, generator=seeded())
    with pytest.raises(ShapeMismatch):
        solve_sgd(problem, passes, PAPER_PLAN, budget=1.0, generator=seeded(), start=whole.reference[1:])
    start = torch.full_like(whole.reference, math.inf)
    with pytest.raises(NonFinite):
        solve_sgd(problem, passes, PAPER_PLAN, budget=1.0, generator=seeded(), start=start)
    for norm, mu in ((-1.0, 0.1), (math.inf, 0.1), (1.0, 0.0)):
        with pytest.raises(OutOfRange):
            a_priori_plan(record_norm=norm, mu=mu, epochs=1)
    assert features.passes == 0
