"""What an API process answers from while a successor takes over."""

from __future__ import annotations

import threading
from collections.abc import Mapping

import pytest
from sqlalchemy import select
from support.site import Site
from support.waiting import wait_until
from support.world import NewWorld, World, person

from ledger import leases, lines
from ledger.database import Database
from ledger.tables import Job, Lease
from service.serving.registry import Registry, Timing
from workers.runner import run_next

TTL_MS = 1_000
MS = 1_000_000


class Monotonic:
    """A process's own clock, in nanoseconds."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def monotonic() -> Monotonic:
    return Monotonic()


@pytest.fixture
def world(new_world: NewWorld, database_url: str) -> World:
    """A model with version 1, and a successor beside it with version 2."""
    return with_successor(new_world(database_url))


def with_successor(world: World) -> World:
    world.upload(person("ada"), person("bob"))
    world.register()
    world.work()
    with world.ledger.database.begin() as tx:
        plan = lines.plan_of(tx, tx.session.get_one(lines.Model, world.model_id))
        lines.register_successor(tx, world.model_id, plan, cut_over=lines.MANUAL)
    world.work()
    return world


def cut_over(world: World) -> tuple[str, int]:
    """Return the id of the generation that took over, and the job that destroys the old one."""
    with world.ledger.database.begin() as tx:
        new, job = lines.cut_over(tx, world.model_id)
        return new.id, job.id


def build(world: World, monotonic: Monotonic) -> Registry:
    registry = Registry(world.ledger, Timing(TTL_MS, 50), process_id="this", monotonic_ns=monotonic)
    wait_until(lambda: (registry.refresh(), number(registry, world) == 1)[1], 20, "version 1 to be served")
    return registry


def number(registry: Registry, world: World) -> int | None:
    model = registry.current(world.model_id)
    return None if model is None else model.number


def lease_rows(world: World) -> dict[str, int]:
    with world.ledger.database.read() as tx:
        return {row.model_id: row.version_number for row in tx.session.execute(select(Lease)).scalars()}


def test_there_is_an_answer_at_every_moment_and_the_old_lease_is_given_up(world: World, monotonic: Monotonic) -> None:
    registry = build(world, monotonic)
    new, job_id = cut_over(world)
    seen = []

    def taken() -> bool:
        registry.refresh()
        seen.append(number(registry, world))
        return seen[-1] == 2

    wait_until(taken, 20, "the successor to be served")
    assert set(seen) == {1, 2}
    assert seen == sorted(seen, key=lambda one: one or 0)
    assert lease_rows(world) == {new: 2}
    world.work()
    with world.ledger.database.read() as tx:
        assert tx.session.get_one(Job, job_id).state == "done"
    assert number(registry, world) == 2
    registry.stop()


def test_the_old_generation_answers_no_longer_than_the_lease_it_had(world: World, monotonic: Monotonic) -> None:
    registry = build(world, monotonic)
    cut_over(world)
    assert number(registry, world) == 1  # nobody has told the process yet, and its promise is in the ledger
    assert lease_rows(world) == {world.model_id: 1}
    monotonic.now += TTL_MS * MS
    assert number(registry, world) is None
    registry.stop()


def test_a_successor_does_not_answer_without_a_lease_of_its_own(
    world: World, monotonic: Monotonic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The purge asks for leases on the generation: an answer under another one's lease would be seen by nobody."""
    registry = build(world, monotonic)
    cut_over(world)

    def refuse(_database: Database, _process: str, _versions: Mapping[str, int], *, ttl_us: int) -> frozenset[str]:
        return frozenset()

    monkeypatch.setattr(leases, "renew", refuse)

    def gone() -> bool:
        registry.refresh()
        return number(registry, world) is None

    wait_until(gone, 20, "the successor to be loaded")
    for _ in range(3):
        registry.refresh()
        assert number(registry, world) is None
    monkeypatch.undo()
    registry.stop()


def test_queries_during_a_cut_over(site: Site) -> None:
    """Answers name the old version, then the new one, and never the old one again."""
    world = with_successor(site.world)
    query = {"instances": person("ada").x[:1].tolist()}
    answers: list[tuple[int, int | None]] = []
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            answer = site.client.post(f"/v1/models/{world.model_id}/predict", json=query)
            answers.append((answer.status_code, answer.json().get("model_version")))

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        wait_until(lambda: (200, 1) in answers, 20, "an answer from the old generation")
        _, job_id = cut_over(world)

        def destroyed() -> bool:
            run_next(world.deps)
            with world.ledger.database.read() as tx:
                return tx.session.get_one(Job, job_id).state == "done"

        wait_until(destroyed, 30, "the old generation to be destroyed")
        after = len(answers) + 1  # one may be on its way
        wait_until(lambda: (200, 2) in answers[after:], 20, "an answer from the new generation")
    finally:
        over.set()
        asking.join()
    numbers = [version for status, version in answers if status == 200]
    assert numbers == sorted(numbers, key=lambda one: one or 0)
    assert set(numbers) == {1, 2}
    assert {version for _, version in answers[after:]} <= {2, None}
    assert {status for status, _ in answers} <= {200, 503}
