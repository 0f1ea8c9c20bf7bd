"""Models over twelve shards, of which workers make six parts; what one worker learns without parts, to compare with."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from types import ModuleType

import pytest
from sqlalchemy import select, update

from ledger import jobs
from ledger.tables import Job, JobPart
from support.waiting import wait_until
from support.world import World, make_deps, make_world, person
from workers.runner import run_claimed, run_next

PEOPLE = [person(f"person-{i}", 4) for i in range(12)]


@dataclass(frozen=True)
class Learned:
    """What a service has learned."""

    statistics: bytes
    weights: bytes


def learned(world: World) -> Learned:
    """Return what it has learned by now."""
    return Learned(world.statistics(), world.weights())


def small_parts(patch: pytest.MonkeyPatch, module: ModuleType) -> None:
    """Let what `module` does of twelve shards be six parts of two."""
    patch.setattr(module, "DIRECT_SHARDS", 3)
    patch.setattr(module, "PART_SHARDS", 2)


def learner(folders: pytest.TempPathFactory, module: ModuleType) -> Callable[..., Learned]:
    """Return a function: what one worker learns, without parts of `module`, from all people but the named ones."""

    @cache
    def learn(*names: str) -> Learned:
        folder = folders.mktemp("alone")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "DIRECT_SHARDS", 1000)
            world = make_world(folder, f"sqlite:///{folder / 'ledger.sqlite'}")
            world.upload(*(p for p in PEOPLE if p.name not in names))
            world.register()
            world.work()
        found = learned(world)
        world.ledger.close()
        return found

    return learn


def run(world: World, kind: str, point: Callable[[str], None] = lambda _: None) -> bool:
    """Run the next job of one kind; False when there is none to run."""
    deps = make_deps(world.ledger, point=point, slice_us=600_000_000)
    claim = jobs.claim(world.ledger.database, kind, lease_us=deps.lease_us, kinds=(kind,))
    if claim is not None:
        run_claimed(deps, claim)
    return claim is not None


def at_once(world: World, workers: int) -> list[str]:
    """Work with so many workers until nothing is left; return the points that they came past."""
    passed: list[str] = []

    def work(number: int) -> None:
        deps = make_deps(world.ledger, worker=f"worker-{number}", point=passed.append)
        wait_until(lambda: not run_next(deps) and not world.jobs("running") and not world.jobs("ready"), 60, "the end")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return passed


def parts(world: World) -> list[JobPart]:
    """Return the parts that wait or are done."""
    with world.ledger.database.read() as tx:
        return list(tx.session.execute(select(JobPart)).scalars())


def leases_run_out(world: World) -> None:
    """Let jobs of dead workers, and those that wait for another attempt, be claimed now."""
    with world.ledger.database.begin() as tx:
        tx.session.execute(update(Job).where(Job.state == "running").values(lease_until=0))
        tx.session.execute(update(Job).where(Job.state == "ready").values(not_before=0))
