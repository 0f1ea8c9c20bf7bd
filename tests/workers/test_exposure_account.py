"""The exposure budget: counted against brute force, added up over versions, and kept."""

from __future__ import annotations

import base64
import json
import math
from typing import Any

import pytest
import torch
from support.world import NewWorld, World, person

from ledger import certificates, folding
from ledger.tables import Model
from unlearning.errors import BoundRefused
from unlearning.exact_solver import solve_exact
from unlearning.linear.statistics_problem import from_statistics
from unlearning.statistics import Statistics
from workers import models, rows

SIGMA, MU = 1.0, 0.5
KINDS = {"isotropic": 0.0, "inverse_hessian": 1.0}


def trained(world: World, people: int = 5, **changes: Any) -> World:
    world.upload(*(person(f"person-{i}") for i in range(people)))
    settings = {"noise": "isotropic", "sigma": SIGMA, "kappa": 1e-3, "mu": MU, "exposure_budget": 1e6}
    world.register(**(settings | changes))
    world.work()
    return world


def spent(world: World) -> float:
    measured = world.active().measured
    assert measured is not None
    nats: float = measured["exposure"]
    return nats


def divergence(hessians: tuple[torch.Tensor, torch.Tensor], weights: list[torch.Tensor], power: float) -> float:
    """KL of two normal laws of any covariance, per column, from the textbook."""
    first, second = (SIGMA**2 * torch.linalg.inv(torch.linalg.matrix_power(h, int(power))) for h in hessians)
    ratio = torch.linalg.solve(second, first)
    shape = float(ratio.trace()) - ratio.shape[0] - float(torch.linalg.slogdet(ratio)[1])
    moved = weights[0] - weights[1]
    return 0.5 * (float((moved * torch.linalg.solve(second, moved)).sum()) + moved.shape[1] * shape)


def by_brute_force(world: World, power: float) -> float:
    """Solve without each record in turn."""
    public = models.load_public(world.deps, world.model_id)
    with world.ledger.database.read() as tx:
        model = tx.session.get_one(Model, world.model_id)
        held = folding.held(tx, model.id, model.applied_seq or 0)
    statistics = Statistics.from_bytes(world.statistics())
    everybody = rows.read(world.ledger, world.model_id, public, held)

    def solved(some: Statistics) -> tuple[torch.Tensor, torch.Tensor]:
        weights = solve_exact(some, public.plan, mu=MU, residual_budget=1e-6).weights
        return from_statistics(some, public.plan, MU).hessian(), torch.from_numpy(weights)

    hessian, weights = solved(statistics)
    found = []
    for i in range(everybody.count):
        other = solved(statistics.minus(everybody.take([i]), public.plan))
        found.append(divergence((hessian, other[0]), [weights, other[1]], power))
    return max(found)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("people", [1, 5])
def test_it_is_that_of_the_record_that_the_version_is_worst_for(new_world: NewWorld, kind: str, people: int) -> None:
    world = trained(new_world(), people, noise=kind)
    assert math.isclose(spent(world), by_brute_force(world, KINDS[kind]), rel_tol=1e-6)
    assert spent(world) > 0


@pytest.mark.parametrize("kind", KINDS)
def test_an_only_record_is_compared_with_the_law_around_zero(new_world: NewWorld, kind: str) -> None:
    world = new_world()
    only = person("only", 1)
    world.upload(only)
    world.register(noise=kind, sigma=SIGMA, kappa=1e-3, mu=MU, exposure_budget=1e6)
    world.work()
    assert math.isclose(spent(world), by_brute_force(world, KINDS[kind]), rel_tol=1e-6)


def test_versions_add_up_and_an_empty_one_costs_nothing(new_world: NewWorld, database_url: str) -> None:
    world = trained(new_world(database_url))
    sums = [spent(world)]
    for step in (lambda: world.forget("person-1"), lambda: world.upload(person("late"))):
        step()
        world.work()
        sums.append(spent(world))
        assert math.isclose(sums[-1] - sums[-2], by_brute_force(world, 0.0), rel_tol=1e-6)
    world.forget(everything=True, cohort_ids=(world.user_id,))
    world.work()
    assert spent(world) == sums[-1]


def test_what_exceeds_the_budget_is_not_published(new_world: NewWorld) -> None:
    enough = spent(trained(new_world()))
    world = trained(new_world(), exposure_budget=1.5 * enough)
    before, request_id = world.weights(), world.forget("person-1")
    world.work()
    assert world.weights() == before
    assert world.request(request_id).state == "scrubbing"
    errors = {job.error or "" for job in world.jobs("failed") if job.kind == "advance"}
    assert len(errors) == 1
    assert "exposure budget" in min(errors)
    assert not any(character.isdigit() for character in min(errors)), "a number would be about records"
    # Without a record there is nothing to expose.
    world.forget(everything=True, cohort_ids=(world.user_id,))
    world.work()
    assert world.request(request_id).state == "completed"
    assert math.isclose(spent(world), enough, rel_tol=1e-9)


def test_the_certificate_says_that_it_is_counted_and_not_how_much(new_world: NewWorld) -> None:
    world = trained(new_world())
    request_id = world.forget("person-1")
    world.work()
    with world.ledger.database.read() as tx:
        envelope = certificates.get(tx, world.tenant_id, request_id)
    text = base64.b64decode(json.loads(envelope)["payload"]).decode()
    predicate = json.loads(text)["predicate"]
    (facts,) = predicate["models"]
    assert (facts["exposure_budget"], facts["checks"]["exposure"]) == ("1000000.0", "pass")
    assert any("it is counted" in line for line in predicate["not_covered"])
    assert repr(spent(world)) not in text


def test_an_exposure_that_rounding_decides_is_not_published(
    new_world: NewWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise BoundRefused(math.inf, math.inf, math.inf, "a record has leverage 1 - 1e-12")

    monkeypatch.setattr("unlearning.bounds.exposure.Exposure.of", refuse)
    world = trained(new_world())
    (job,) = [job for job in world.jobs("failed") if job.kind == "advance"]
    assert (job.error or "").startswith("ExposureSpent")
