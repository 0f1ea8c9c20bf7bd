"""Every failure is an RFC 9457 document with a stable type."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import event
from support.site import Site, npz, open_site
from support.world import NewWorld

from ledger import errors as facts
from ledger import inventory
from ledger.objects import ObjectStore, Written
from service import refusals
from service.errors import ALL_KINDS, kind_of

X, Y = np.zeros((12, 6), np.float32), np.zeros(12, int)


def subclasses(cls: type[Exception]) -> Iterator[type[Exception]]:
    for one in cls.__subclasses__():
        yield one
        yield from subclasses(one)


def test_every_fact_has_a_kind() -> None:
    ours = [*subclasses(facts.LedgerError), *subclasses(refusals.ServiceError)]
    assert len(ours) > 25
    for cls in ours:
        kind = kind_of(cls.__new__(cls))
        assert kind is not None, cls
        general = kind_of(facts.LedgerError.__new__(facts.LedgerError))
        assert kind != general or cls.__name__.startswith(("Object", "Record", "Signature")), cls


def test_types_are_unique_and_explained(site: Site) -> None:
    names = [kind.name for kind in ALL_KINDS]
    assert len(set(names)) == len(names)
    page = site.client.get("/problems").text
    for kind in ALL_KINDS:
        assert kind.type in page
        assert site.client.get(kind.type).json()["items"][0]["status"] == kind.status


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("GET", "/v1/nowhere", 404),
        ("GET", "/v1/cohorts/", 404),
        ("GET", "/v1/jobs/0", 404),
        ("GET", "/v1/jobs/99999999999999999999", 404),
        ("GET", "/v1/jobs/one", 404),
        ("GET", "/v1/cohorts/%00", 404),
        ("GET", f"/v1/cohorts/{'A' * 32}", 404),
        ("GET", f"/v1/models/{'0' * 32}/versions/99999999999", 404),
        ("GET", "/docs", 404),
        ("PUT", "/v1/cohorts", 405),
        ("DELETE", "/healthz", 405),
        ("PATCH", f"/v1/forget-requests/{'0' * 32}", 405),
    ],
)
def test_addresses_and_methods_that_are_not_there(site: Site, method: str, path: str, status: int) -> None:
    answer = site.client.request(method, path)
    assert (answer.status_code, answer.json()["status"]) == (status, status)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-request-id"] == answer.json()["request_id"]


def test_a_wrong_method_is_told_the_right_ones(site: Site) -> None:
    assert site.client.put("/v1/cohorts").headers["allow"] == "GET, POST"
    assert site.client.put(f"/v1/forget-requests/{'0' * 32}").headers["allow"] == "GET, DELETE"


def test_every_answer_carries_the_security_headers(site: Site) -> None:
    for path in ("/healthz", "/v1/me", "/nowhere", "/v1/nowhere", "/openapi.json"):
        headers = site.client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert headers["cache-control"] == "no-store"


@pytest.mark.parametrize("content", [b"{" * 70_000, iter([b"[" * 40_000] * 2)], ids=["declared", "counted"])
def test_too_large_a_body(new_world: NewWorld, tmp_path: Path, content: Any) -> None:
    with open_site(new_world(), tmp_path, max_body_bytes=65_536) as site:
        answer = site.client.post("/v1/forget-requests", content=content, headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.json()["type"]) == (413, "/problems/too-large"), answer.text
        assert "65536" in answer.json()["detail"]


def test_a_busy_database_is_503_and_nothing_happens(new_world: NewWorld, tmp_path: Path) -> None:
    world = new_world()
    event.listen(world.ledger.database.engine, "connect", lambda it, _: it.execute("PRAGMA busy_timeout = 50"))
    world.ledger.database.engine.dispose()
    with open_site(world, tmp_path) as site:
        before = site.stored()
        with world.ledger.database.begin() as holding:
            holding.session.connection()  # begins, and so locks
            answer = site.client.post("/v1/forget-requests", json={"everything": True})
        assert (answer.status_code, answer.json()["type"]) == (503, "/problems/unavailable")
        assert int(answer.headers["retry-after"]) >= 1
        assert "INSERT" not in answer.text
        assert site.stored() == before
        assert site.nudges == []


class FailingStore:
    """A store whose disk fails at the third write."""

    def __init__(self, store: ObjectStore, failure: facts.StoreFailed) -> None:
        self._store, self._failure, self._writes = store, failure, 0

    def write(self, name: str, parts: Iterable[bytes]) -> Written:
        self._writes += 1
        if self._writes == 3:
            raise self._failure
        return self._store.write(name, parts)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


@pytest.mark.parametrize(
    ("failure", "status"),
    [(facts.StoreFull("no space"), 507), (facts.StoreReadOnly("read-only"), 503), (facts.StoreFailed("broken"), 503)],
)
def test_a_failing_disk_leaves_nothing_of_an_upload(
    new_world: NewWorld, tmp_path: Path, failure: facts.StoreFailed, status: int
) -> None:
    world = new_world()
    store: Any = FailingStore(world.ledger.objects, failure)
    world.ledger = dataclasses.replace(world.ledger, objects=store)
    with open_site(world, tmp_path) as site:
        before = site.stored()
        answer = site.upload(npz(x=X, y=Y, subject=np.array([f"s{i}" for i in range(12)])))
        assert answer.status_code == status, answer.text
        assert ("retry-after" in answer.headers) == (status == 503)
        with world.ledger.database.begin() as tx:
            inventory.doom_abandoned(tx, world.tenant_id)
        inventory.delete_doomed(world.ledger.database, store, world.tenant_id)
        assert site.stored() == {**before, "uploads": before["uploads"] + 1}
        assert site.upload(npz(x=X, y=Y)).status_code == 202
