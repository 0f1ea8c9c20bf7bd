"""A hundred equal forget requests at once, against real processes: one erasure, and a hundred equal answers."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from support import nursery
from support.deployment import Deployment, upload_people
from support.world import CLASSES, SHAPE, clock_us, make_deps, person

from ledger import changes
from ledger.ledger import open_ledger
from ledger.settings import LedgerSettings
from ledger.tables import Change, Record
from service.client_async import AsyncLacunaClient
from service.client_types import ForgetRequest
from workers.runner import run_next

pytestmark = pytest.mark.acceptance
MANY = 100
OWN = ("id", "certificate_url", "receipt_url", "received_at", "completed_at", "published_at")
"""What every request has for itself: its names, and its moments."""


@pytest.fixture(params=["sqlite", "postgres"])
def deployment(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Deployment]:
    url = None if request.param == "sqlite" else request.getfixturevalue("fresh_postgres_database")
    found = Deployment(tmp_path, database_url=url, start=nursery.start)
    if url is not None:
        found.upgrade()
    yield found
    found.stop()


async def ask(deployment: Deployment, subject: str, key: str | None) -> list[ForgetRequest]:
    """Send a hundred requests at once and return the answers."""
    async with AsyncLacunaClient(deployment.url, deployment.key, timeout_s=120) as client:
        return list(
            await asyncio.gather(*(client.forget(subjects=[subject], idempotency_key=key) for _ in range(MANY)))
        )


async def ends(deployment: Deployment, requests: set[str]) -> list[ForgetRequest]:
    """Return the requests once they are completed."""
    async with AsyncLacunaClient(deployment.url, deployment.key, timeout_s=120) as client:
        return [await client.wait_for_request(one, timeout_s=120) for one in sorted(requests)]


def alike(answers: list[ForgetRequest]) -> list[dict[str, Any]]:
    """Return the different answers, without what names a request or its moment."""
    found: list[dict[str, Any]] = []
    for answer in answers:
        rest = {name: value for name, value in answer.items() if name not in OWN}
        if rest not in found:
            found.append(rest)
    return found


def test_a_hundred_at_once(deployment: Deployment) -> None:
    deployment.start_server()
    with deployment.client() as client:
        cohort = client.create_cohort("people", kind="user", shape=SHAPE, dtype="float32", class_names=CLASSES)["id"]
        upload_people(client, cohort, [person("with"), person("without"), person("stays")])
    # No worker yet: whoever is answered last is answered before the first is erased.
    same = asyncio.run(ask(deployment, "with", "one-key"))
    assert all(answer == same[0] for answer in same)
    others = asyncio.run(ask(deployment, "without", None))
    ids = {answer["id"] for answer in others}
    assert len(ids) == MANY
    assert len(alike(others)) == 1
    settings = LedgerSettings(data_dir=deployment.folder / "data", database_url=deployment.database_url)
    ledger = open_ledger(settings, clock=clock_us, random=os.urandom)
    while run_next(make_deps(ledger)):  # a worker in this process: importing torch once more takes longer than the work
        pass
    with ledger.database.read() as tx:
        removals = tx.session.execute(select(Change.request_id).where(Change.kind == changes.REMOVED)).scalars().all()
        left = len(tx.session.execute(select(Record.id)).all())
    ledger.close()
    assert len(removals) == 2  # of two hundred requests: one erasure for each person
    assert left == 3
    (done,) = asyncio.run(ends(deployment, {same[0]["id"]}))
    assert (done["outcome"], done["records"]) == ("erased", 3)
    (ended,) = alike(asyncio.run(ends(deployment, ids)))
    assert (ended["state"], ended["outcome"], ended["records"]) == ("completed", "erased", 3)
    with deployment.client() as client:
        assert client.cohorts()[0]["records"] == 3
        assert len(client.requests(limit=1000)) == MANY + 1
        assert client.certificate(sorted(ids)[-1])
