"""What the pages say about requests, models, cohorts and the log, to whom, and what they keep to themselves."""

from __future__ import annotations

import json
import re

import pytest
from sqlalchemy import func, select
from support.mentions import mentions
from support.pages import Page, page
from support.told import WHO, Told

from ledger.tables import Event, LogCheckpoint


def addresses(told: Told) -> list[str]:
    world = told.site.world
    with world.ledger.database.read() as tx:
        event = tx.session.execute(select(func.min(Event.id)).where(Event.subject == told.erased)).scalar_one()
    return [
        "/dashboard",
        "/dashboard/live/overview",
        "/dashboard/requests",
        "/dashboard/live/requests?state=open",
        "/dashboard/requests.csv",
        f"/dashboard/requests/{told.erased}",
        f"/dashboard/live/requests/{told.erased}",
        f"/dashboard/requests/{told.erased}/verify",
        f"/dashboard/requests/{told.erased}/certificate.html",
        f"/dashboard/requests/{told.erased}/certificate.json",
        f"/dashboard/requests/{told.erased}/certificate.tlog-proof",
        "/dashboard/models",
        f"/dashboard/models/{world.model_id}",
        f"/dashboard/models/{world.model_id}/versions.json",
        "/dashboard/cohorts",
        f"/dashboard/cohorts/{world.user_id}",
        f"/dashboard/cohorts/{world.core_id}",
        "/dashboard/log",
        "/dashboard/log/check",
        f"/dashboard/log/proof?event={event}",
        f"/dashboard/log/proof?q={told.erased}",
    ]


def test_pages_need_no_inline_script_and_name_nobody(told: Told) -> None:
    for path in addresses(told):
        answer = told.site.client.get(path)
        assert answer.status_code == 200, path
        assert not any(mentions(answer.text, name) for name in (WHO, "quentin", "cornelia")), path
        if not answer.headers["content-type"].startswith("text/html") or path.endswith("certificate.html"):
            continue
        shown = Page(answer.text)
        assert shown.attributes.isdisjoint({"style", "onclick", "onload"}), path
        assert "<script>" not in answer.text
        assert all(link.startswith(("/dashboard", "#")) for link in shown.links), path
        assert "unsafe" not in answer.headers["content-security-policy"]


def test_another_tenant_gets_nothing_of_ours(told: Told) -> None:
    site = told.site
    headers = {"Authorization": f"Bearer {site.key('audit:read', tenant_id=site.other_tenant())}"}
    for path in addresses(told):
        answer = site.client.get(path, headers=headers)
        if re.search(r"/[0-9a-f]{32}", path):
            assert answer.status_code == 404, path
            continue
        assert answer.status_code == 200, path
        shown = Page(answer.text)
        for name in ("request", "model", "job", "change", "cohort", "event", "generation", "version", "hash"):
            assert shown.text(name) == [], (path, name)
        ours = (site.world.model_id, site.world.user_id, site.world.tenant_id, "churn")
        assert not any(each in answer.text for each in ours), path
        if "?q=" not in path:  # what was asked for is shown again
            assert told.erased not in answer.text, path


def test_a_key_that_may_not_read_gets_no_page(told: Told) -> None:
    headers = {"Authorization": f"Bearer {told.site.key('predict', 'forget:write')}"}
    for path in addresses(told):
        assert told.site.client.get(path, headers=headers).status_code == 403, path


def test_the_overview_says_who_works_and_who_answers(told: Told) -> None:
    shown = page(told.site)
    assert "completed 3" in shown.text("states")[0]
    assert shown.text("nearest") == ["– no deadline runs"]
    assert re.fullmatch(r"Workers idle test ended job \d+ \(\w+\) at .*", shown.text("workers")[0])
    assert re.search(r"current process [0-9a-f]{8} : churn , version 2", shown.text("leases")[0])
    assert re.search(r"waiting 0 running 0 done \d+ failed 0 No job waits", shown.text("queue")[0])
    table = shown.text("chart-table")[0]
    assert re.search(r"2 [\d: -]+ active 0 – \d+\.\d %", table)
    assert re.search(r"1 [\d: -]+ destroyed 0 – –", table)  # its accuracy died with it


def test_what_is_drawn_is_what_the_table_says(told: Told) -> None:
    drawn = told.site.client.get(f"/dashboard/models/{told.site.world.model_id}/versions.json").json()
    assert drawn["version"] == [1, 2]
    assert drawn["nats"] == [0.0, 0.0]
    assert drawn["spent"] == [None, None]
    assert drawn["accuracy"][0] is None
    measured = told.site.world.active().measured
    assert measured is not None
    assert drawn["accuracy"][1] == pytest.approx(100 * measured["accuracy"])


def test_a_request_tells_its_story(told: Told) -> None:
    shown = page(told.site, f"/dashboard/requests/{told.erased}")
    words = shown.text("event")
    assert "Accepted: stored durably" in words[0]
    assert any("Version published" in each and "number 2" in each for each in words)
    assert any("Old version destroyed" in each and "number 1" in each for each in words)
    assert "Read back and completed: outcome erased" in words[-1]
    assert all(re.search(r"event \d+, entry \d+ of the log$", each) for each in words)
    assert re.fullmatch(r"churn 1 destroyed – 2 active \d+\.\d %", shown.text("change")[0])
    (certificate,) = shown.text("certificate")
    assert "0 nats left in the weights" in certificate
    assert "unserved nobody answers from an old version: every serving lease" in certificate
    read = told.site.client.get(f"/dashboard/requests/{told.erased}/certificate.html")
    assert told.erased in read.text


@pytest.mark.parametrize(("which", "words"), [("no_match", "matched no record"), ("on_hold", "A legal hold keeps")])
def test_a_request_without_a_certificate_says_why(told: Told, which: str, words: str) -> None:
    request_id = getattr(told, which)
    answer = told.site.client.get(f"/dashboard/requests/{request_id}")
    assert words in answer.text
    assert "Verify now" not in answer.text
    for rest in ("verify", "certificate.json", "certificate.html", "certificate.tlog-proof"):
        missing = told.site.client.get(f"/dashboard/requests/{request_id}/{rest}")
        assert missing.status_code == (200 if rest.endswith("proof") else 404), rest


def test_a_model_tells_where_it_comes_from(told: Told) -> None:
    world = told.site.world
    assert "churn" in page(told.site, "/dashboard/models").text("model")[0]
    shown = page(told.site, f"/dashboard/models/{world.model_id}")
    (lineage,) = shown.text("lineage")
    assert re.search(r"core core the core network.* core core accuracy is measured on it.* user user the user", lineage)
    assert {f"/dashboard/cohorts/{world.core_id}", f"/dashboard/cohorts/{world.user_id}"} <= set(shown.links)
    version = world.active()
    (statistics,) = shown.text("statistics")
    assert version.statistics_commitment in statistics
    assert version.weights_commitment in statistics
    assert "records in them 9" in statistics


def test_a_cohort_tells_who_uses_it_but_not_the_classes_of_people(told: Told) -> None:
    world = told.site.world
    rows = sorted(page(told.site, "/dashboard/cohorts").text("cohort"))  # both were made at the same moment
    assert rows[0].startswith("core core 60 6 float32 3 no limit")
    assert rows[1].startswith("user user 9 6 float32 3 no limit")
    user = page(told.site, f"/dashboard/cohorts/{world.user_id}")
    assert "records on legal hold 3" in user.text("cohort")[0]
    assert "learns from it" in user.text("uses")[0]
    assert user.text("classes")[0].startswith("Classes no, yes, maybe How many records each class has is not shown")
    assert re.search(r"added 12 addition", user.text("upload")[0])
    core = page(told.site, f"/dashboard/cohorts/{world.core_id}").text("classes")[0]
    counted = [int(number) for number in re.findall(r"(?:no|yes|maybe) (\d+)", core)]
    assert sum(counted) == 60


def test_the_log_shows_its_checkpoints_and_proves_entries(told: Told) -> None:
    world = told.site.world
    with world.ledger.database.read() as tx:
        newest = tx.session.execute(select(LogCheckpoint).order_by(LogCheckpoint.size.desc()).limit(1)).scalar_one()
        event, body = tx.session.execute(
            select(Event.id, Event.body).where(Event.subject == told.erased, Event.kind == "forget.completed")
        ).one()
    shown = page(told.site, "/dashboard/log")
    assert shown.text("checkpoint")[0].startswith(f"{newest.size} {newest.note.splitlines()[2]}")
    found = page(told.site, f"/dashboard/log/proof?q=%20{told.erased.upper()}%20")
    assert len(found.text("event")) == 5
    answer = told.site.client.get(f"/dashboard/log/proof?event={event}")
    assert json.loads(body)["certificate"] in answer.text
    proof = Page(answer.text)
    assert "Proved" in proof.text("proof")[0]
    assert "NOT PROVED" not in proof.text("proof")[0]
    assert len(proof.text("hash")) >= 4
    root = proof.text("root")[0]
    assert proof.text("hash")[-1].split()[-1] == root.split()[-1]  # the way ends at the signed root
    assert "No event is about this id" in page(told.site, "/dashboard/log/proof?q=nothing").text("found")[0]
    assert page(told.site, "/dashboard/log/proof").text("proof") == []
