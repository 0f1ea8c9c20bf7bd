"""What Prometheus reads: true figures of the key's tenant, and nobody's name."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import update
from support.site import Site, open_site
from support.waiting import wait_until
from support.world import NewWorld, World, person

from ledger.tables import ForgetRequest, Job
from service.metrics import BUCKETS_S, PredictionTimes

DAY_US = 86_400_000_000


def read(site: Site, **headers: str) -> dict[str, float]:
    """Return every sample by its name and labels."""
    answer = site.client.get("/metrics", headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {
        sample.name + "".join(f" {value}" for value in sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


@pytest.fixture
def world(new_world: NewWorld, database_url: str) -> World:
    world = new_world(database_url, core_people=4)
    world.upload(*(person(name) for name in "abc"))
    world.register()
    world.work()
    return world


def test_figures_follow_the_ledger(world: World, tmp_path: Path) -> None:
    with open_site(world, tmp_path) as site:
        quiet = read(site)
        assert quiet["lacuna_versions_published_total"] == 1
        assert quiet["lacuna_scrub_seconds_count"] == quiet["lacuna_requests accepted"] == 0
        assert "lacuna_deadline_seconds" not in quiet
        assert quiet["lacuna_queue_age_seconds"] == 0
        first, second = world.forget("a"), world.forget("b")
        with world.ledger.database.begin() as tx:
            tx.session.execute(
                update(ForgetRequest).where(ForgetRequest.id == first).values(due_at=tx.now - 2 * DAY_US)
            )
            tx.session.execute(update(Job).where(Job.state == "ready").values(not_before=tx.now - DAY_US))
        late = read(site)
        assert late["lacuna_requests accepted"] == 2
        assert late["lacuna_requests_overdue"] == 1
        assert -172_900 < late["lacuna_deadline_seconds"] <= -172_800
        assert 86_400 <= late["lacuna_queue_age_seconds"] < 86_500
        assert late["lacuna_jobs ready"] >= 1
        world.work()
        assert {world.request(name).state for name in (first, second)} == {"completed"}
        done = read(site)
        assert (done["lacuna_requests accepted"], done["lacuna_requests completed"]) == (0, 2)
        assert done["lacuna_versions_published_total"] == 2
        for name in ("scrub", "completion"):
            assert done[f"lacuna_{name}_seconds_count"] == 2
        rows = [world.request(name) for name in (first, second)]
        took = sum((row.completed_at or 0) - row.received_at for row in rows) / 1e6
        assert done["lacuna_completion_seconds_sum"] == pytest.approx(took)
        assert 0 < done["lacuna_scrub_seconds_sum"] <= took


def test_checks_that_stop_jobs_are_counted_by_name(world: World, tmp_path: Path) -> None:
    error = "CheckFailed: The check 'residual' failed: the gradient exceeds its budget. The version was not published"
    world.forget("a")
    with world.ledger.database.begin() as tx:
        tx.session.execute(update(Job).where(Job.state == "ready").values(state="failed", error=error))
    with open_site(world, tmp_path) as site:
        assert read(site)["lacuna_checks_failing residual"] == 1


def test_predictions_are_timed_and_refused_ones_are_not(world: World, tmp_path: Path) -> None:
    with open_site(world, tmp_path) as site:
        address = f"/v1/models/{world.model_id}/predict"
        fine, wrong = {"instances": [[0.0] * 6]}, {"instances": [[0.0]]}
        wait_until(lambda: site.client.post(address, json=fine).status_code == 200, 60, "the model to be served")
        assert read(site)["lacuna_prediction_seconds_count"] == 1  # those that were not answered do not count
        answers = [site.client.post(address, json=body).status_code for body in (fine, wrong, fine)]
        found = read(site)
        assert found["lacuna_prediction_seconds_count"] == 1 + answers.count(200)
        assert found["lacuna_prediction_seconds_bucket +Inf"] == 1 + answers.count(200) < 4
        assert found["lacuna_prediction_seconds_sum"] > 0


def test_times_fall_into_the_bucket_that_they_just_reach() -> None:
    now = [0]
    times = PredictionTimes(lambda: now[0])
    for seconds in (BUCKETS_S[0], 0.0011, 99.0):
        with times.timing("tenant"):
            now[0] += round(seconds * 1e9)
    buckets, total = times.buckets("tenant")
    assert buckets[:2] == [("0.001", 1.0), ("0.0025", 2.0)]
    assert buckets[-2:] == [("10.0", 2.0), ("+Inf", 3.0)]
    assert total == pytest.approx(99.0021)
    assert times.buckets("other")[0][-1] == ("+Inf", 0.0)


def test_a_key_sees_its_own_tenant_and_needs_the_right(world: World, tmp_path: Path) -> None:
    world.forget("a")
    with open_site(world, tmp_path) as site:
        other = site.key("audit:read", tenant_id=site.other_tenant())
        theirs = read(site, Authorization=f"Bearer {other}")
        assert read(site)["lacuna_requests accepted"] == 1
        assert theirs["lacuna_requests accepted"] == theirs["lacuna_versions_published_total"] == 0
        assert site.client.get("/metrics", headers={"Authorization": ""}).status_code == 401
        weak = site.key("predict", "forget:write")
        assert site.client.get("/metrics", headers={"Authorization": f"Bearer {weak}"}).status_code == 403


def test_nobody_is_named_and_no_registry_is_shared(world: World, tmp_path: Path) -> None:
    world.forget("a")
    with open_site(world, tmp_path) as site:
        page = site.client.get("/metrics").text
        for name in (world.tenant_id, world.model_id, world.user_id, "default", 'model"', '"a"'):
            assert name not in page
    assert not [metric.name for metric in REGISTRY.collect() if metric.name.startswith("lacuna")]
