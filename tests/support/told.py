"""A site with a history: a model, people forgotten from it, one on hold, everything in the log."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from ledger.log.sequencer import sequence
from support.site import Site
from support.waiting import wait_until
from support.world import World, person

WHO = "zebedee"


@dataclass
class Told:
    """The site, and the ids of its requests: one erased, one of a subject on hold, one that matched nothing."""

    site: Site
    erased: str
    on_hold: str
    no_match: str


def erase(site: Site, name: str, *, log: bool = True) -> str:
    """Forget a person, wait until that is certified (and stands in the log), and return the request's id."""
    request_id = site.world.forget(name)

    def done() -> bool:
        site.world.work()  # the site's own leases hold a purge up, so it may have to be tried again
        return site.world.request(request_id).state == "completed"

    wait_until(done, 30, "the request to be completed")
    if log:
        sequence(site.world.ledger.database, site.world.ledger.ring)
    return request_id


def teach(world: World) -> None:
    """Give the world a model that has learned from four people."""
    world.upload(person(WHO), person("barnaby"), person("quentin"), person("ursula"))
    world.register("churn", evaluation_cohort_id=world.core_id)
    world.work()


def without_triggers(site: Site, *statements: str) -> None:
    """Change rows of a site's database as `tamper` does."""
    tamper(Path(str(site.world.ledger.database.engine.url.database)), *statements)


def tamper(database: Path, *statements: str) -> None:
    """Change rows as one can who has SQLite's file: past the triggers, which are there again after it."""
    with closing(sqlite3.connect(database, timeout=30, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        triggers = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        for statement in (*statements, *(sql for _, sql in triggers)):
            connection.execute(statement)
        connection.execute("COMMIT")
