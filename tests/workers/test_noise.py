"""Every solver with every noise through the whole forget path, and what its certificates say."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from support.world import NewWorld, World, make_deps, person

from ledger import certificates, jobs
from ledger.tables import Job, Model
from unlearning.errors import BudgetMissed
from unlearning.exact_solver import solve_exact
from unlearning.linear.krylov import solve_krylov
from unlearning.linear.solution import Solution
from unlearning.statistics import Statistics
from unlearning.weights import weights_from_bytes
from workers import models, noising
from workers.deps import Deps
from workers.runner import run_next

KAPPA, SIGMA, MU = 2e-3, 0.2, 0.05
PEOPLE = [person(f"person-{i}") for i in range(6)]
SOLVERS = ("exact", "krylov", "sgd")
KINDS = ("isotropic", "inverse_hessian")


def trained(world: World, **changes: Any) -> World:
    world.upload(*PEOPLE)
    world.register(**{"solver": "krylov", "noise": "isotropic", "sigma": SIGMA, "kappa": KAPPA, "mu": MU} | changes)
    world.work()
    return world


def model_of(world: World) -> Model:
    with world.ledger.database.read() as tx:
        return tx.session.get_one(Model, world.model_id)


def exact_weights(world: World, deps: Deps | None = None) -> np.ndarray:
    """What the active version's statistics have as their minimiser."""
    public = models.load_public(deps or world.deps, world.model_id)
    statistics = Statistics.from_bytes(world.statistics())
    return solve_exact(statistics, public.plan, mu=MU, residual_budget=1e-6).weights


def noise_is_plausible(world: World) -> bool:
    """Whether the published weights differ from the minimiser as the noise's law says."""
    model, public = model_of(world), models.load_public(world.deps, world.model_id)
    statistics = Statistics.from_bytes(world.statistics())
    hessian = noising.from_statistics(statistics, public.plan, MU).hessian()
    noise = noising.torch.from_numpy(weights_from_bytes(world.weights()) - exact_weights(world))
    return noising.plausible(noising.energy(noising.covariance(model), hessian, noise), noise.numel())


def predicate(world: World, request_id: str) -> dict[str, Any]:
    with world.ledger.database.read() as tx:
        envelope = certificates.get(tx, world.tenant_id, request_id)
    statement: dict[str, Any] = json.loads(base64.b64decode(json.loads(envelope)["payload"]))
    return statement["predicate"]  # type: ignore[no-any-return]  # JSON


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("solver", SOLVERS)
def test_every_way_to_forget(new_world: NewWorld, database_url: str, solver: str, kind: str) -> None:
    world = trained(new_world(database_url), solver=solver, noise=kind)
    steps = [
        lambda: world.forget("person-1"),
        lambda: world.upload(person("late")) and None,
        lambda: world.forget(record_ids=("person-2/0",)),
        lambda: world.forget(labels=(1,)),
        lambda: world.forget(everything=True, cohort_ids=(world.user_id,)),
    ]
    published = [world.weights()]
    for number, step in enumerate(steps, start=2):
        request_id = step()
        world.work()
        assert world.active().number == number
        bound = world.active().checks["bound"]
        spent = {"exact": "0"}.get(solver, f"{number * KAPPA:g}")
        assert (bound["output_bound"], bound["state_bound"], bound["releases"]) == (spent, spent, number)
        published.append(world.weights())
        if number <= len(steps):
            assert noise_is_plausible(world), number
        if request_id is None:
            continue
        assert world.request(request_id).state == "completed"
        said = predicate(world, request_id)
        assert str(said["bounds"]["output_bound"]["value"]) == spent
        (facts,) = said["models"]
        assert (facts["method"], facts["noise"], facts["sigma"], facts["kappa"]) == (solver, kind, "0.2", "0.002")
        assert facts["checks"]["nats"] == facts["checks"]["noise"] == "pass"
    assert len(set(published)) == len(published)
    assert not weights_from_bytes(world.weights()).any(), "w_ref: without records everything is public"
    assert Statistics.from_bytes(world.statistics()).count == 0


@pytest.mark.parametrize("solver", ["krylov", "sgd"])
def test_statistics_stay_exact_under_every_solver(new_world: NewWorld, solver: str) -> None:
    lived, never = trained(new_world(), solver=solver), new_world()
    never.upload(*(p for p in PEOPLE if p.name != "person-1"))
    never.register(solver=solver, noise="isotropic", sigma=SIGMA, kappa=KAPPA, mu=MU)
    never.work()
    lived.forget("person-1")
    lived.work()
    assert lived.statistics() == never.statistics()
    assert lived.weights() != never.weights(), "each drew its own noise"


def test_the_solver_starts_at_the_published_weights(new_world: NewWorld) -> None:
    world = trained(new_world())
    started = []

    def watched(problem: Any, **options: Any) -> Solution:
        started.append(options["start"].numpy().copy())
        return solve_krylov(problem, **options)

    before = weights_from_bytes(world.weights())
    world.forget("person-1")
    world.work(deps=make_deps(world.ledger, krylov=watched))
    assert len(started) == 1
    assert np.array_equal(started[0], before)


def test_weights_lie_on_the_public_grid(new_world: NewWorld) -> None:
    world = trained(new_world())
    grid = noising.grid(model_of(world), models.load_public(world.deps, world.model_id))
    levels = weights_from_bytes(world.weights()) / grid.step
    assert np.array_equal(levels, np.rint(levels))
    assert grid.step < 2**-15 * SIGMA


@pytest.mark.parametrize("solver", SOLVERS)
def test_features_per_output_are_solved_and_noised_too(new_world: NewWorld, solver: str) -> None:
    world = trained(new_world(), solver=solver, noise="inverse_hessian", feature_map="tangent", width=9)
    request_id = world.forget("person-1")
    world.work()
    assert world.request(request_id).state == "completed"
    assert weights_from_bytes(world.weights()).shape[1] == 1
    assert noise_is_plausible(world)
    assert (world.active().measured or {})["fell_back"] is False


def missing(*_: Any, **__: Any) -> Solution:
    raise BudgetMissed("stopped", residual_norm=1.0, residual_bound=1.0, budget=1e-9, iterations=3)


@pytest.mark.parametrize("solver", ["krylov", "sgd"])
def test_a_solver_that_misses_its_budget_gives_way_to_the_exact_one(new_world: NewWorld, solver: str) -> None:
    world = trained(new_world(), solver=solver)
    constants = world.active().checks
    request_id = world.forget("person-1")
    world.work(deps=make_deps(world.ledger, **{solver: missing}))
    version = world.active()
    assert world.request(request_id).state == "completed"
    assert version.measured is not None
    assert version.measured["fell_back"] is True
    assert noise_is_plausible(world)
    # Whether it fell back depends on data: nothing that outlives the version may say so.
    assert version.checks.keys() == constants.keys()
    assert "fell_back" not in json.dumps(predicate(world, request_id))


def test_a_kappa_that_float64_cannot_reach_publishes_nothing(new_world: NewWorld) -> None:
    world = trained(new_world(), kappa=1e-40)
    (job,) = [job for state in ("ready", "failed") for job in world.jobs(state) if job.kind == "advance"]
    assert job.error is not None
    assert "float error of the solve" in job.error
    assert model_of(world).active_version_id is None


def test_noise_is_drawn_once_for_a_version(new_world: NewWorld) -> None:
    world = trained(new_world())
    drawn = []

    def watched(*arguments: Any) -> Any:
        drawn.append(make_deps(world.ledger).draw(*arguments))
        return drawn[-1]

    world.forget("person-1")
    world.work(deps=make_deps(world.ledger, draw=watched))
    assert len(drawn) == 1
    grid = noising.grid(model_of(world), models.load_public(world.deps, world.model_id))
    off = weights_from_bytes(world.weights()) - exact_weights(world) - drawn[0].numpy()
    # What is left is the distance to the optimum, at most the budget over mu, and half a step of the grid.
    assert np.abs(off).max() <= (model_of(world).residual_budget or 0.0) / MU + grid.step


def test_a_rebuild_compares_statistics_and_says_why_not_weights(new_world: NewWorld) -> None:
    world = trained(new_world())
    world.forget("person-1")
    world.work()
    with world.ledger.database.begin() as tx:
        job_id = jobs.add(tx, world.tenant_id, jobs.REBUILD, lock_key="rebuild", model_id=world.model_id).id
    assert run_next(world.deps)
    with world.ledger.database.read() as tx:
        result = tx.session.get_one(Job, job_id).result
    assert result is not None
    assert result["equal"] is True
    assert "noise" in result["weights"]


def test_two_models_in_one_certificate_add_up(new_world: NewWorld) -> None:
    world = trained(new_world())
    world.register("second", solver="krylov", noise="isotropic", sigma=SIGMA, kappa=KAPPA, mu=MU)
    world.register("third")
    world.work()
    request_id = world.forget("person-1")
    world.work()
    said = predicate(world, request_id)
    assert said["bounds"]["output_bound"]["value"] == "0.008", "two models, two versions each"
    assert "of others" in said["bounds"]["basis"]
    assert any("Differencing exposure" in line for line in said["not_covered"])
    assert any("cryptographic generator" in line for line in said["assumptions"])
    assert any("measured while a version was solved" in line for line in said["not_covered"])


def test_a_certificate_without_noise_says_zero_and_why_differencing_stays(new_world: NewWorld) -> None:
    world = new_world()
    world.upload(*PEOPLE)
    world.register()
    world.work()
    request_id = world.forget("person-1")
    world.work()
    said = predicate(world, request_id)
    assert said["bounds"]["output_bound"] == said["bounds"]["state_bound"] == {"value": 0, "unit": "nat"}
    assert not any("cryptographic generator" in line for line in said["assumptions"])
    assert any("without noise that is unbounded" in line for line in said["not_covered"])


def test_a_noise_of_the_wrong_size_is_caught(new_world: NewWorld) -> None:
    """The generator of a virtual machine that returns zeros, or a scale applied twice."""
    world = trained(new_world(), feature_map="pooled")
    before, request_id = world.weights(), world.forget("person-1")
    for factor in (0.0, 0.05, 20.0):
        broken = replace(world.deps, draw=lambda *a, f=factor: f * make_deps(world.ledger).draw(*a))
        with world.ledger.database.begin() as tx:
            jobs.add_advance(tx, world.tenant_id, world.model_id)
        assert run_next(broken)
        errors = [job.error for job in world.jobs("ready") if job.kind == "advance" and job.error]
        assert any("check 'noise' failed" in error for error in errors), factor
        assert world.weights() == before
    assert world.request(request_id).state == "scrubbing"
