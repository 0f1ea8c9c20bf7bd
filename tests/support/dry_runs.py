"""Asking dry runs of a small Lacuna whose model is measured on records of its own."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from ledger import catalog, dry_runs, tenants
from ledger.selectors import Selector, SubjectName
from ledger.tables import Base, DryRun, Job
from support.world import CLASSES, SHAPE, World, person

PEOPLE = [person(f"person-{i}", 4) for i in range(8)]
HOUR_US = 3_600_000_000


def evaluated(world: World, **changes: Any) -> World:
    """Train a model that is measured on a public cohort of its own."""
    with world.ledger.database.begin() as tx:
        evaluation = catalog.create_cohort(
            tx, world.tenant_id, name="evaluation", kind="core", shape=SHAPE, dtype="float32", class_names=CLASSES
        ).id
    world.upload(*(person(f"test-{i}", 6) for i in range(8)), cohort_id=evaluation, subjects=False)
    world.upload(*PEOPLE)
    world.register(evaluation_cohort_id=evaluation, **changes)
    world.work()
    return world


def ask(world: World, *names: str, **selector: Any) -> int:
    chosen = Selector(subjects=tuple(SubjectName("controller_customer_id", "raw", n) for n in names), **selector)
    with world.ledger.database.begin() as tx:
        hasher = tenants.alias_hasher(tx, world.ledger.ring, world.tenant_id)
        return dry_runs.ask(tx, world.tenant_id, chosen, hasher, regulation="gdpr").id


def result(world: World, job_id: int) -> dict[str, Any] | None:
    with world.ledger.database.read() as tx:
        return dry_runs.results(tx, [job_id]).get(job_id)


def predicted(world: World, *names: str, **selector: Any) -> dict[str, Any]:
    job_id = ask(world, *names, **selector)
    world.work()
    found = result(world, job_id)
    assert found is not None, job(world, job_id).error
    return found


def job(world: World, job_id: int) -> Job:
    with world.ledger.database.read() as tx:
        found: Job = tx.session.get_one(Job, job_id)
    return found


def all_jobs(world: World) -> list[Job]:
    with world.ledger.database.read() as tx:
        return list(tx.session.execute(select(Job).order_by(Job.id)).scalars())


def everything(world: World, *, but: tuple[str, ...] = ()) -> dict[str, Any]:
    """Every row of every table and every byte of every object."""
    with world.ledger.database.read() as tx:
        stored: dict[str, Any] = {
            name: sorted(repr(tuple(row)) for row in tx.session.execute(table.select()))
            for name, table in Base.metadata.tables.items()
            if name not in but
        }
    return stored | {name: world.ledger.objects.read(name) for name in world.ledger.objects.names()}


def question(world: World) -> list[DryRun]:
    with world.ledger.database.read() as tx:
        return list(tx.session.execute(select(DryRun)).scalars())
