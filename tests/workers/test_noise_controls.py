"""With krylov, sgd and noise too the certificate cannot lie: faulty solves publish nothing, and no trace is kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from sqlalchemy import select, update
from support.dying import Died
from support.waiting import wait_until
from support.world import NewWorld, World, make_deps, person

from ledger import artifacts, certificates, jobs
from ledger.errors import NotFound
from ledger.sealed import unseal
from ledger.shards import ShardReader
from ledger.tables import Base, Job, StoredObject
from ledger.uploads import feature_context, record_context
from unlearning.linear.krylov import solve_krylov
from unlearning.linear.sgd import solve_sgd
from unlearning.linear.solution import Solution
from unlearning.linear.statistics_problem import from_statistics
from unlearning.statistics import Statistics
from unlearning.weights import weights_from_bytes
from workers import models
from workers.loop import sweep
from workers.runner import run_next

KAPPA, SIGMA, MU = 1e-3, 0.01, 0.05
HONEST: dict[str, Callable[..., Solution]] = {"krylov": solve_krylov, "sgd": solve_sgd}
Faulty = Callable[[Solution, torch.Tensor], torch.Tensor]


def trained(world: World, solver: str = "krylov") -> World:
    world.upload(*(person(f"person-{i}") for i in range(8)))
    world.register(solver=solver, noise="inverse_hessian", sigma=SIGMA, kappa=KAPPA, mu=MU)
    world.work()
    return world


def skipped(right: Solution, start: torch.Tensor) -> torch.Tensor:
    return start


def half_step(right: Solution, start: torch.Tensor) -> torch.Tensor:
    return (start + right.weights) / 2


def wrong_sign(right: Solution, start: torch.Tensor) -> torch.Tensor:
    return 2 * start - right.weights


def faulty_solver(solver: str, how: Faulty) -> Callable[..., Solution]:
    def solve(*arguments: Any, **options: Any) -> Solution:
        right = HONEST[solver](*arguments, **options)
        return replace(right, weights=how(right, options["start"]))

    return solve


def caught(world: World, check: str, **faulty: Any) -> None:
    """Run a faulty worker once on a forget request: the named check fails, and nothing is published."""
    before = (world.statistics(), world.weights(), world.active().number)
    request_id = world.forget("person-3")
    assert run_next(make_deps(world.ledger, **faulty))
    assert (world.statistics(), world.weights(), world.active().number) == before
    assert world.request(request_id).state == "scrubbing"
    with world.ledger.database.read() as tx, pytest.raises(NotFound):
        certificates.get(tx, world.tenant_id, request_id)
    (job,) = [job for job in world.jobs("ready") if job.kind == "advance" and job.error]
    assert job.error is not None
    assert f"check '{check}' failed" in job.error
    with world.ledger.database.begin() as tx:
        jobs.add_advance(tx, world.tenant_id, world.model_id)
    world.work()
    assert world.request(request_id).state == "completed", "an honest worker ends what the faulty one could not"


@pytest.mark.parametrize("how", [skipped, half_step, wrong_sign])
@pytest.mark.parametrize("solver", ["krylov", "sgd"])
def test_a_faulty_step_publishes_nothing(new_world: NewWorld, solver: str, how: Faulty) -> None:
    caught(trained(new_world(), solver), "residual", **{solver: faulty_solver(solver, how)})


def test_a_solve_of_the_wrong_set_publishes_nothing(new_world: NewWorld) -> None:
    """A person is left in the solve, though not in the statistics that are written."""
    world = trained(new_world())
    old = Statistics.from_bytes(world.statistics())
    public = models.load_public(world.deps, world.model_id)

    def solve(problem: Any, **options: Any) -> Solution:
        return solve_krylov(from_statistics(old, public.plan, MU), **options)

    caught(world, "residual", krylov=solve)


def test_statistics_are_checked_under_every_solver(new_world: NewWorld) -> None:
    caught(trained(new_world()), "transition", fold=lambda before, *_: before)


def test_the_stored_weights_must_be_the_released_ones(new_world: NewWorld) -> None:
    world = trained(new_world())
    with pytest.MonkeyPatch.context() as patch:
        before = world.weights()
        patch.setattr("workers.advance.weights_to_bytes", lambda _: before)
        world.forget("person-5")
        assert run_next(world.deps)
    (job,) = [job for job in world.jobs("ready") if job.kind == "advance" and job.error]
    assert "check 'released' failed" in (job.error or "")


def everything_stored(world: World) -> list[bytes]:
    """Every object of the store, decrypted, and every row of the database, as bytes."""
    ledger, found = world.ledger, []
    with ledger.database.read() as tx:
        kinds = {row.name: row.kind for row in tx.session.execute(select(StoredObject)).scalars()}
        found += [repr(row).encode() for t in Base.metadata.sorted_tables for row in tx.session.execute(select(t))]
    assert set(ledger.objects.names()) == set(kinds)
    contexts = {
        "weights": artifacts.weights_context(world.model_id),
        "statistics": artifacts.statistics_context(world.model_id),
        "public": artifacts.public_context(world.model_id),
        "features": feature_context(world.model_id),
    }
    for name, kind in kinds.items():
        if kind == "records":
            readers = [world.core_id, world.user_id]
            context = next(c for c in map(record_context, readers) if opens(world, name, c))
        else:
            context = contexts[kind]
        if kind in ("records", "features"):
            reader = ShardReader(ledger.objects, name, ring=ledger.ring, context=context)
            found += reader.read(reader.ids()).values()
        else:
            found.append(unseal(ledger.objects.read(name), ring=ledger.ring, context=context, name=name))
    return found


def opens(world: World, name: str, context: bytes) -> bool:
    try:
        reader = ShardReader(world.ledger.objects, name, ring=world.ledger.ring, context=context)
        reader.read(reader.ids())
    except Exception:  # noqa: BLE001 (whatever the wrong key makes of it)
        return False
    return True


def holds(stored: list[bytes], numbers: np.ndarray) -> int:
    """How many of these numbers stand anywhere, as eight bytes or as text."""
    forms = [(number.tobytes(), repr(float(number)).encode()) for number in numbers.reshape(-1)]
    return sum(any(form in one for one in stored for form in each) for each in forms)


@pytest.mark.parametrize("solver", ["krylov", "sgd"])
def test_weights_from_before_the_noise_are_stored_nowhere(new_world: NewWorld, database_url: str, solver: str) -> None:
    world = trained(new_world(database_url), solver)
    solved = []

    def watched(*arguments: Any, **options: Any) -> Solution:
        found = HONEST[solver](*arguments, **options)
        solved.append(found.weights.numpy().copy())
        return found

    world.forget("person-3")
    world.work(deps=make_deps(world.ledger, **{solver: watched}))
    stored = everything_stored(world)
    (secret,) = solved
    released = weights_from_bytes(world.weights())
    assert holds(stored, released) == released.size, "the search finds what is there"
    assert holds(stored, secret) == 0
    assert holds(stored, released - secret) == 0, "nor is the noise"


@pytest.mark.parametrize("at", ["advance.solved", "advance.written", "advance.checked", "advance.publishing"])
def test_a_death_after_the_noise_was_drawn_leaves_one_erasure(new_world: NewWorld, at: str) -> None:
    world = trained(new_world())
    request_id, before = world.forget("person-3"), world.weights()

    def die(point: str) -> None:
        if point == at:
            raise Died

    dying = make_deps(world.ledger, point=die)
    for _ in range(2):
        with pytest.raises(Died):
            world.work(deps=dying)
        assert world.weights() == before
        with world.ledger.database.begin() as tx:
            tx.session.execute(update(Job).where(Job.state == "running").values(lease_until=0))

    def completed() -> bool:
        run_next(world.deps)
        return world.request(request_id).state == "completed"

    wait_until(completed, 20, "the request to be completed")
    sweep(world.deps)
    assert world.active().number == 2
    names = {world.active().weights_object, world.active().statistics_object}
    with world.ledger.database.read() as tx:
        kept = select(StoredObject.name).where(StoredObject.kind.in_(("weights", "statistics")))
        assert set(tx.session.execute(kept).scalars()) == names, "what dead workers drew is swept"
