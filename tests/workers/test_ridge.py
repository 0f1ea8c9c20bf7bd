"""A ridge chosen per version is a function of the retained records, and nothing else remembers it."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select
from support.world import NewWorld, Person, World, make_deps, person

from ledger import certificates, jobs
from ledger.tables import Base
from unlearning.exact_solver import ExactSolution, solve_exact
from unlearning.gcv import MuChoice, choose_mu
from unlearning.quantization import QuantizationPlan
from unlearning.statistics import Statistics
from workers.runner import run_next

GRID = tuple(m * 1.0009765625 for m in (1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0, 10.0))
"""Candidates whose digits occur nowhere else by chance."""
CLEAR = [person(f"person-{i}", 6) for i in range(8)]
LOUD = replace(person("loud", 24), y=(person("loud", 24).y + 1) % 3)
"""Wrong labels throughout: while they are in, a larger ridge is right."""


def trained(world: World, people: Sequence[Person], **changes: Any) -> World:
    world.upload(*people)
    world.register(**{"mu": None, "mu_grid": GRID, "feature_map": "pooled"} | changes)
    world.work()
    return world


def chosen(world: World) -> float:
    measured = world.active().measured
    assert measured is not None
    mu: float = measured["mu"]
    return mu


def test_forgetting_chooses_the_ridge_anew_and_equals_never_having_seen(new_world: NewWorld, database_url: str) -> None:
    lived, never = (
        trained(new_world(database_url, shard_records=16), [*CLEAR, LOUD]),
        trained(new_world(shard_records=16), CLEAR),
    )
    with_loud, loud_weights = chosen(lived), lived.weights()
    request_id = lived.forget("loud")
    lived.work()
    assert lived.request(request_id).state == "completed"
    assert chosen(lived) == chosen(never) in GRID
    assert lived.weights() == never.weights()
    assert lived.statistics() == never.statistics()
    # Otherwise this test could not tell a ridge that was kept.
    assert with_loud != chosen(never)
    assert loud_weights != never.weights()


class StaleRidge:
    """Keeps the first ridge that it chose, as a service would that tunes once."""

    def __init__(self, mu: float) -> None:
        self.kept = mu

    def __call__(self, *_: Any, **__: Any) -> MuChoice:
        return MuChoice(self.kept, ())


def stale_solve(mu_kept: float) -> Callable[..., ExactSolution]:
    def solve(statistics: Statistics, plan: QuantizationPlan, *, mu: float, residual_budget: float) -> ExactSolution:
        return solve_exact(statistics, plan, mu=mu_kept, residual_budget=residual_budget)

    return solve


@pytest.mark.parametrize("lie", ["choice", "solve"])
def test_a_ridge_kept_from_before_the_forget_is_caught(new_world: NewWorld, lie: str) -> None:
    world = trained(new_world(shard_records=16), [*CLEAR, LOUD])
    before, kept = world.weights(), chosen(world)
    world.forget("loud")
    faulty = {"choose_mu": StaleRidge(kept)} if lie == "choice" else {"solve": stale_solve(kept)}
    assert run_next(make_deps(world.ledger, **faulty))
    (job,) = [job for job in world.jobs("ready") if job.kind == "advance" and job.error]
    assert f"check '{'mu' if lie == 'choice' else 'residual'}' failed" in job.error
    assert not any(character.isdigit() for character in job.error)
    assert world.weights() == before
    with world.ledger.database.begin() as tx:
        jobs.add_advance(tx, world.tenant_id, world.model_id)
    world.work()
    assert chosen(world) != kept


def test_the_certificate_says_how_and_no_row_keeps_the_value(new_world: NewWorld) -> None:
    world = trained(new_world(shard_records=16), [*CLEAR, LOUD])
    old = world.active()
    request_id = world.forget("loud")
    world.work()
    with world.ledger.database.read() as tx:
        envelope = certificates.get(tx, world.tenant_id, request_id)
        tables = {t.name: tx.session.execute(select(t)).all() for t in Base.metadata.sorted_tables}
    statement = base64.b64decode(json.loads(envelope)["payload"]).decode()
    listed = "gcv over " + ", ".join(repr(mu) for mu in GRID)
    (facts,) = json.loads(statement)["predicate"]["models"]
    assert facts["mu"] == listed
    assert facts["checks"] == {
        "transition": "pass", "mu": "pass", "residual": "pass", "residual_budget": "derived from mu",
    }  # fmt: skip
    assert not any(repr(mu) in statement.replace(listed, "") for mu in GRID)
    (was,) = [row for row in tables["model_versions"] if row.id == old.id]
    assert (was.state, was.measured) == ("destroyed", None)
    for name in tables.keys() - {"models"}:
        rows = [row for row in tables[name] if getattr(row, "id", None) != world.active().id]
        assert not any(repr(mu) in repr(row) for row in rows for mu in GRID), name
    assert repr(chosen(world)) in repr(tables["model_versions"])
    (model,) = tables["models"]
    assert (model.mu, model.residual_budget) == (None, None)


def test_a_chosen_ridge_that_cannot_be_proved_fails_without_numbers(new_world: NewWorld) -> None:
    world = trained(new_world(shard_records=16), CLEAR, residual_budget=1e-300)
    (job,) = [job for state in ("ready", "failed") for job in world.jobs(state) if job.kind == "advance"]
    assert job.error is not None
    assert "every mu" in job.error
    assert not any(character.isdigit() for character in job.error)


def test_rebuilding_chooses_the_ridge_too(new_world: NewWorld) -> None:
    world = trained(new_world(shard_records=16), CLEAR)
    asked = []

    def watched(statistics: Statistics, *rest: Any, **options: Any) -> MuChoice:
        asked.append(statistics.to_bytes())
        return choose_mu(statistics, *rest, **options)

    with world.ledger.database.begin() as tx:
        jobs.add(tx, world.tenant_id, jobs.REBUILD, lock_key="rebuild", model_id=world.model_id)
    world.work(deps=make_deps(world.ledger, choose_mu=watched))
    assert asked == [world.statistics()]
