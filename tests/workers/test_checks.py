"""The certificate cannot lie: faulty mathematics is caught by the check for it, and nothing is published."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from sqlalchemy import select, update
from support.world import NewWorld, World, make_deps, person

from ledger import certificates, jobs, requests
from ledger.errors import NotFound
from ledger.tables import Record
from unlearning.exact_solver import ExactSolution, solve_exact
from unlearning.quantization import QuantizationPlan
from unlearning.rows import QuantizedRows
from unlearning.statistics import Statistics
from unlearning.weights import weights_from_bytes
from workers.deps import Deps, fold
from workers.runner import run_next

FORGOTTEN = "person-3"


@pytest.fixture
def world(new_world: NewWorld) -> World:
    world = new_world()
    world.upload(*(person(f"person-{i}") for i in range(8)))
    world.register()
    world.work()
    return world


def attempt(world: World, deps: Deps) -> str:
    """Run the faulty worker once on a forget request; return the error that its job shows, nothing being published."""
    before = (world.statistics(), world.weights(), world.active().number)
    request_id = world.forget(FORGOTTEN)
    assert run_next(deps)
    assert (world.statistics(), world.weights(), world.active().number) == before
    assert world.request(request_id).state == "scrubbing"
    with world.ledger.database.read() as tx, pytest.raises(NotFound):
        certificates.get(tx, world.tenant_id, request_id)
    (job,) = [job for job in world.jobs("ready") if job.kind == "advance" and job.error]
    return job.error


def finish_honestly(world: World) -> None:
    """An honest worker ends what the faulty one could not."""
    with world.ledger.database.begin() as tx:
        jobs.add_advance(tx, world.tenant_id, world.model_id)  # the failed job waits; an operator would not
    world.work()
    with world.ledger.database.read() as tx:
        assert {r.state for r in requests.list_newest(tx, world.tenant_id)} == {"completed"}


def skipped(before: Statistics, added: QuantizedRows, removed: QuantizedRows, plan: QuantizationPlan) -> Statistics:
    return before


def one_left_in(before: Statistics, added: QuantizedRows, removed: QuantizedRows, plan: QuantizationPlan) -> Statistics:
    return fold(before, added, removed.take(slice(1, None)), plan)


def wrong_sign(before: Statistics, added: QuantizedRows, removed: QuantizedRows, plan: QuantizationPlan) -> Statistics:
    return fold(before, removed, added, plan)


def wrong_label(before: Statistics, added: QuantizedRows, removed: QuantizedRows, plan: QuantizationPlan) -> Statistics:
    labels = removed.labels.copy()
    labels[0] = (labels[0] + 1) % plan.classes
    return fold(before, added, removed.relabelled(labels), plan)


def target_left_in(
    before: Statistics, added: QuantizedRows, removed: QuantizedRows, plan: QuantizationPlan
) -> Statistics:
    after = fold(before, added, removed, plan)
    left_in = Statistics.zero(before.width, before.columns).plus(removed.take(slice(0, 1)), plan)
    return replace(after, cross=after.cross + left_in.cross)


def half_removed(
    before: Statistics, added: QuantizedRows, removed: QuantizedRows, plan: QuantizationPlan
) -> Statistics:
    after = fold(before, added, removed, plan)
    return replace(after, gram=after.gram + (before.gram - after.gram) // 2)


def off_by_one(before: Statistics, added: QuantizedRows, removed: QuantizedRows, plan: QuantizationPlan) -> Statistics:
    after = fold(before, added, removed, plan)
    gram = after.gram.copy()
    gram[0, 1] += 1
    gram[1, 0] += 1
    return replace(after, gram=gram)


@pytest.mark.parametrize(
    ("faulty", "part"),
    [
        (skipped, "gram"),
        (one_left_in, "gram"),
        (wrong_sign, "gram"),
        (wrong_label, "cross"),
        (target_left_in, "cross"),
        (half_removed, "gram"),
        (off_by_one, "gram"),
    ],
)
def test_statistics_that_did_not_move_as_the_ledger_says(
    world: World, faulty: Callable[..., Statistics], part: str
) -> None:
    error = attempt(world, make_deps(world.ledger, fold=faulty))
    assert "check 'transition' failed" in error
    assert part in error
    finish_honestly(world)


def old_weights(world: World) -> Callable[..., ExactSolution]:
    old = weights_from_bytes(world.weights())

    def solve(statistics: Statistics, plan: QuantizationPlan, **options: float) -> ExactSolution:
        return replace(solve_exact(statistics, plan, **options), weights=old)

    return solve


def half_step(world: World) -> Callable[..., ExactSolution]:
    old = weights_from_bytes(world.weights())

    def solve(statistics: Statistics, plan: QuantizationPlan, **options: float) -> ExactSolution:
        right = solve_exact(statistics, plan, **options)
        return replace(right, weights=np.ascontiguousarray((old + right.weights) / 2))

    return solve


def wrong_ridge(world: World) -> Callable[..., ExactSolution]:
    def solve(statistics: Statistics, plan: QuantizationPlan, *, mu: float, residual_budget: float) -> ExactSolution:
        return solve_exact(statistics, plan, mu=1.01 * mu, residual_budget=residual_budget)

    return solve


def right_solve_of_wrong_set(world: World) -> Callable[..., ExactSolution]:
    """A residual measured on other statistics than the ones stored looks perfect; ours is measured on those."""
    old = Statistics.from_bytes(world.statistics())

    def solve(statistics: Statistics, plan: QuantizationPlan, **options: float) -> ExactSolution:
        return solve_exact(old, plan, **options)

    return solve


@pytest.mark.parametrize("faulty", [old_weights, half_step, wrong_ridge, right_solve_of_wrong_set])
def test_weights_that_are_not_the_minimiser(
    world: World, faulty: Callable[[World], Callable[..., ExactSolution]]
) -> None:
    error = attempt(world, make_deps(world.ledger, solve=faulty(world)))
    assert "check 'residual' failed" in error
    finish_honestly(world)


def test_a_label_that_changed_in_the_ledger_alone(world: World) -> None:
    with world.ledger.database.begin() as tx:
        tx.session.execute(update(Record).values(class_index=(Record.class_index + 1) % 3))
    error = attempt(world, world.deps)
    assert "check 'labels' failed" in error


def test_a_record_that_vanished_from_the_removal_set_after_the_fold(world: World) -> None:
    """The check asks the ledger anew: what the folding code saw does not count."""

    def tamper(point: str) -> None:
        if point == "advance.written":
            with world.ledger.database.begin() as tx:
                victim = tx.session.execute(
                    select(Record.id).where(Record.removed_seq.is_not(None)).limit(1)
                ).scalar_one()
                tx.session.execute(update(Record).where(Record.id == victim).values(removed_seq=None, request_id=None))

    error = attempt(world, make_deps(world.ledger, point=tamper))
    assert "check 'transition' failed" in error


def test_an_honest_worker_passes_the_same_checks(world: World) -> None:
    request_id = world.forget(FORGOTTEN)
    world.work()
    assert world.request(request_id).state == "completed"
