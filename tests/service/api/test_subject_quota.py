"""One subject may have so many records, wherever they lie; what others have plays no part."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.site import NPZ, Site, npz, open_site
from support.world import CLASSES, NewWorld

COHORT = {"name": "more", "kind": "user", "shape": [6], "dtype": "float32", "class_names": CLASSES}


@pytest.fixture
def site(request: pytest.FixtureRequest, new_world: NewWorld, tmp_path: Path) -> Iterator[Site]:
    postgres = getattr(request, "param", "sqlite") == "postgres"
    url = request.getfixturevalue("fresh_postgres_database") if postgres else None
    with open_site(new_world(url, core_people=1), tmp_path, max_subject_records=3) as found:
        yield found


def records(*subjects: str | None, first: int = 0) -> bytes:
    names = np.array([name or "" for name in subjects])
    ids = np.array([f"r{first + i}" for i in range(len(subjects))])
    rng = np.random.default_rng(first)
    x = rng.normal(size=(len(subjects), 6)).astype(np.float32)
    arrays: dict[str, Any] = {"x": x, "y": np.zeros(len(subjects), np.int64), "id": ids}
    return npz(**arrays, **({"subject": names} if any(subjects) else {}))


@pytest.mark.parametrize("site", ["sqlite", "postgres"], indirect=True)
def test_a_subject_has_no_more_records_than_it_may_over_all_cohorts(site: Site) -> None:
    other = site.client.post("/v1/cohorts", json=COHORT).json()["id"]
    assert site.upload(records("a", "a", "b")).status_code == 202
    assert site.upload(records("a", first=10), cohort_id=other).status_code == 202
    before = site.client.get(f"/v1/cohorts/{other}").json()["records"]
    refused = site.upload(records("a", "b", first=20), cohort_id=other)
    assert (refused.status_code, refused.json()["type"]) == (403, "/problems/quota-exceeded")
    assert "1 of the subjects" in refused.json()["detail"]
    assert site.client.get(f"/v1/cohorts/{other}").json()["records"] == before
    assert site.upload(records("b", "b", first=30), cohort_id=other).status_code == 202
    assert site.upload(records("a", "a", "a", "a", first=40)).status_code == 403


def test_records_of_nobody_and_of_others_count_for_nobody(site: Site) -> None:
    assert site.upload(records(*[None] * 9)).status_code == 202
    assert site.upload(records(*(f"s{i}" for i in range(9)), first=20)).status_code == 202
    assert site.upload(records("a", "a", "a", first=40)).status_code == 202
    theirs = {"Authorization": f"Bearer {site.key('admin', tenant_id=site.other_tenant())}", "Content-Type": NPZ}
    cohort = site.client.post("/v1/cohorts", json=COHORT, headers={"Authorization": theirs["Authorization"]}).json()
    assert site.upload(records("a", first=60), cohort_id=cohort["id"], headers=theirs).status_code == 202


def test_forgetting_makes_room_and_a_correction_needs_none(site: Site) -> None:
    assert site.upload(records("a", "a", "a")).status_code == 202
    at = f"/v1/cohorts/{site.world.user_id}/corrections"
    corrected = site.client.post(at, content=records("a", "a", "a"), headers={"Content-Type": NPZ})
    assert corrected.status_code == 202
    assert site.upload(records("a", first=10)).status_code == 403
    site.world.work()
    assert site.upload(records("a", first=10)).status_code == 403
    site.client.post("/v1/forget-requests", json={"record_ids": ["r0"]})
    site.world.work()
    assert site.upload(records("a", first=10)).status_code == 202
