"""Uploads in parts: every byte acknowledged is kept, whatever breaks; refused and forgotten ones leave nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select, update
from starlette.requests import ClientDisconnect
from support.bodies import ndjson
from support.site import Site, npz

from ledger import inventory, uploads
from ledger.tables import StoredObject, Upload, UploadPart
from service.uploads import parts
from workers.loop import sweep

N = 400
ROWS = [{"x": [float(i)] * 6, "y": i % 3, "id": f"r{i}", "subject": f"planted-{i // 4}"} for i in range(N)]
BODY = ndjson(*ROWS)


def begin(site: Site, kind: str = "ndjson", size: int | None = len(BODY), cohort: str | None = None) -> str:
    path = f"/v1/cohorts/{cohort or site.world.user_id}/uploads"
    answer = site.client.post(path, json={"format": kind} | ({"size": size} if size else {}))
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"] == f"/v1/uploads/{answer.json()['id']}"
    upload_id: str = answer.json()["id"]
    return upload_id


def send(site: Site, upload_id: str, start: int, data: Any) -> Any:
    headers = {"Upload-Offset": str(start), "Content-Type": "application/offset+octet-stream"}
    return site.client.patch(f"/v1/uploads/{upload_id}", content=data, headers=headers)


def offset(site: Site, upload_id: str) -> int:
    answer = site.client.head(f"/v1/uploads/{upload_id}")
    assert answer.status_code == 200
    return int(answer.headers["upload-offset"])


def send_all(site: Site, upload_id: str, body: bytes = BODY, step: int = 7000) -> None:
    for start in range(0, len(body), step):
        answer = send(site, upload_id, start, body[start : start + step])
        assert (answer.status_code, answer.headers["upload-offset"]) == (204, str(min(start + step, len(body))))


def show(site: Site, upload_id: str) -> dict[str, Any]:
    found: dict[str, Any] = site.client.get(f"/v1/uploads/{upload_id}").json()
    return found


def finish(site: Site, upload_id: str) -> Any:
    return site.client.post(f"/v1/uploads/{upload_id}/finish")


def of_kind(site: Site, kind: str) -> int:
    with site.world.ledger.database.read() as tx:
        return len(tx.session.execute(select(StoredObject.name).where(StoredObject.kind == kind)).all())


def test_parts_become_records_and_nothing_else_remains(any_site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "PIECE", 3000)
    upload_id = begin(any_site)
    send_all(any_site, upload_id)
    assert of_kind(any_site, "part") > 5
    found = show(any_site, upload_id)
    assert (found["state"], found["offset"], found["size"], found["features"]) == ("open", len(BODY), len(BODY), None)
    answer = finish(any_site, upload_id)
    assert (answer.status_code, answer.json()["records"]) == (202, N), answer.text
    assert answer.headers["location"] == answer.json()["job_url"]
    assert of_kind(any_site, "part") == 0
    assert inventory.strangers(any_site.world.ledger.database, any_site.world.ledger.objects) == []
    found = show(any_site, upload_id)
    assert (found["state"], found["records"], found["job"]) == ("stored", N, answer.json()["job"])
    any_site.world.work()
    assert (show(any_site, upload_id)["state"], show(any_site, upload_id)["features"]) == ("added", 1.0)


def test_a_part_that_breaks_off_is_kept_as_far_as_it_came(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "PIECE", 2000)
    upload_id = begin(site)

    async def breaks() -> AsyncIterator[bytes]:
        for start in range(0, 9000, 500):
            yield BODY[start : start + 500]
        raise ClientDisconnect

    world = site.world
    with pytest.raises(ClientDisconnect):
        asyncio.run(parts.append(world.ledger, world.tenant_id, upload_id, 0, breaks(), limit=10**6))
    assert offset(site, upload_id) == 9000
    send(site, upload_id, 9000, BODY[9000:])
    assert finish(site, upload_id).json()["records"] == N


def test_a_wrong_offset_is_told_the_right_one(site: Site) -> None:
    upload_id = begin(site)
    send(site, upload_id, 0, BODY[:1000])
    for start in (0, 999, 1001, 2**40):
        answer = send(site, upload_id, start, BODY[1000:1100])
        assert (answer.status_code, answer.headers["upload-offset"]) == (409, "1000")
        assert answer.json()["type"] == "/problems/wrong-offset"
    assert offset(site, upload_id) == 1000
    assert of_kind(site, "part") == 1


def test_more_than_announced_or_allowed_is_refused(site: Site) -> None:
    upload_id = begin(site, size=100)
    assert send(site, upload_id, 0, bytes(101)).status_code == 413
    too_large = site.client.post(
        f"/v1/cohorts/{site.world.user_id}/uploads", json={"format": "npz", "size": site.settings.max_upload_bytes + 1}
    )
    assert too_large.status_code == 413


def test_an_upload_is_not_finished_before_everything_is_there(site: Site) -> None:
    upload_id = begin(site)
    assert finish(site, upload_id).status_code == 409
    send(site, upload_id, 0, BODY[:100])
    answer = finish(site, upload_id)
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/wrong-state")
    send(site, upload_id, 100, BODY[100:])
    assert finish(site, upload_id).status_code == 202
    assert finish(site, upload_id).status_code == 409
    assert send(site, upload_id, len(BODY), b"more").status_code == 409
    assert site.client.delete(f"/v1/uploads/{upload_id}").status_code == 409


def test_a_refused_upload_has_failed_and_says_why(any_site: Site) -> None:
    before = any_site.stored()
    body = ndjson(*ROWS[:3], ROWS[3] | {"y": 7})
    upload_id = begin(any_site, size=None)
    send_all(any_site, upload_id, body)
    answer = finish(any_site, upload_id)
    assert (answer.status_code, answer.json()["errors"][0]["rows"]) == (422, [3])
    found = show(any_site, upload_id)
    assert found["state"] == "failed"
    assert "(rows 3)" in found["error"]
    assert "planted" not in found["error"]
    assert any_site.stored() == {**before, "uploads": before["uploads"] + 1}


def test_giving_up_leaves_nothing(any_site: Site) -> None:
    before = any_site.stored()
    upload_id = begin(any_site)
    send_all(any_site, upload_id)
    for _ in range(2):
        assert any_site.client.delete(f"/v1/uploads/{upload_id}").status_code == 204
    assert show(any_site, upload_id)["state"] == "failed"
    assert any_site.stored() == {**before, "uploads": before["uploads"] + 1}


def test_an_upload_that_nobody_goes_on_with_is_swept_after_a_day(any_site: Site) -> None:
    before = any_site.stored()
    upload_id = begin(any_site)
    send_all(any_site, upload_id)
    sweep(any_site.world.deps)
    assert offset(any_site, upload_id) == len(BODY)
    with any_site.world.ledger.database.begin() as tx:
        assert tx.session.get_one(Upload, upload_id).lease_until > tx.now + uploads.OPEN_US // 2
        tx.session.execute(update(Upload).where(Upload.id == upload_id).values(lease_until=0))
    sweep(any_site.world.deps)
    assert show(any_site, upload_id)["state"] == "failed"
    assert any_site.stored() == {**before, "uploads": before["uploads"] + 1}


def test_who_was_forgotten_meanwhile_does_not_come_with_the_parts(site: Site) -> None:
    upload_id = begin(site)
    send_all(site, upload_id)
    site.client.post("/v1/forget-requests", json={"subjects": [{"value": "planted-3"}]})
    site.world.work()
    answer = finish(site, upload_id)
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/subject-suppressed")
    assert of_kind(site, "part") == 0


def test_a_server_that_dies_while_finishing_leaves_the_parts(site: Site) -> None:
    """What a restart does: rows stored so far are taken back, and the upload can be finished again."""
    upload_id = begin(site, "npz", None)
    send_all(site, upload_id, npz(x=np.ones((9, 6), np.float32), y=np.zeros(9, int)))
    with site.world.ledger.database.begin() as tx:
        tx.session.execute(update(Upload).where(Upload.id == upload_id).values(state="receiving"))
    assert finish(site, upload_id).status_code == 409
    assert uploads.abandon_expired(site.world.ledger, everything=True) == 1
    assert show(site, upload_id)["state"] == "open"
    assert finish(site, upload_id).json()["records"] == 9


def test_parts_are_sealed(site: Site) -> None:
    upload_id = begin(site)
    send_all(site, upload_id)
    with site.world.ledger.database.read() as tx:
        names = tx.session.execute(select(UploadPart.object_name)).scalars().all()
    assert names
    for name in names:
        assert b"planted" not in site.world.ledger.objects.read(name)


@pytest.mark.parametrize("verb", ["GET", "HEAD", "PATCH", "DELETE", "POST"])
def test_another_tenants_upload_is_not_there(site: Site, verb: str) -> None:
    upload_id = begin(site)
    key = site.key("data:write", tenant_id=site.other_tenant())
    path = f"/v1/uploads/{upload_id}" + ("/finish" if verb == "POST" else "")
    answer = site.client.request(verb, path, headers={"Authorization": f"Bearer {key}", "Upload-Offset": "0"})
    assert answer.status_code == 404
