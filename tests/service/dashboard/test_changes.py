"""What an admin changes from the dashboard: it happens, the log says who it was, and a wrong form changes nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import select, update
from support.browser import SECRET, Browser, add_person, signed_in
from support.issued import receipt_of
from support.mentions import mentions
from support.site import Site
from support.world import person

from evidence.receipt import check_receipt
from ledger.tables import Event, ForgetRequest, Job
from service.dashboard.changes import NO_COHORT, NO_NUMBERS, UNCONFIRMED

WHO = "zebedee"


def acts(site: Site) -> list[tuple[str, str, str]]:
    """Who changed what, of which thing, as the log has it."""
    with site.world.ledger.database.read() as tx:
        bodies = tx.session.execute(select(Event.body).where(Event.kind == "person.acted").order_by(Event.id)).scalars()
        return [(body["subject"], body["what"], body["target"]) for body in map(json.loads, bodies)]


def requests(site: Site) -> list[Any]:
    with site.world.ledger.database.read() as tx:
        return list(tx.session.execute(select(ForgetRequest)).scalars())


def test_a_person_files_a_request_and_withdraws_it(any_site: Site) -> None:
    person_id, browser = add_person(any_site), Browser(any_site)
    browser.sign_in(name="olga", password=SECRET)
    any_site.world.upload(person(WHO), person("bob"))
    nudges = len(any_site.nudges)
    sent = browser.post(
        "/dashboard/forget", page="/dashboard/forget", by="subject", subject=WHO, subject_type="controller_customer_id"
    )
    assert sent.status_code == 303, sent.text
    (row,) = requests(any_site)
    assert sent.headers["location"] == f"/dashboard/requests/{row.id}"
    assert (row.state, row.selector_kind, row.regulation) == ("accepted", "subjects", "gdpr")
    assert len(any_site.nudges) == nudges + 1
    check_receipt(receipt_of(any_site.world, row.id), row.commitment, WHO)
    withdrawn = browser.post(f"/dashboard/requests/{row.id}/cancel", page="/dashboard/keys")
    assert withdrawn.status_code == 303
    assert requests(any_site)[0].state == "cancelled"
    assert acts(any_site) == [(person_id, "request.filed", row.id), (person_id, "request.cancelled", row.id)]


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"by": "records", "records": "scan 1\r\n scan-2 \r\n\r\n"}, "records"),
        ({"by": "classes", "classes": "0, 1"}, "labels"),
        ({"by": "everything", "sure": "yes", "regulation": "ccpa"}, "everything"),
    ],
)
def test_each_way_to_select(site: Site, fields: dict[str, str], kind: str) -> None:
    browser = signed_in(site, "admin")
    assert browser.post("/dashboard/forget", page="/dashboard/forget", **fields).status_code == 303
    (row,) = requests(site)
    assert (row.selector_kind, row.regulation) == (kind, fields.get("regulation", "gdpr"))


def test_a_cohort_is_ticked_and_confirmed(site: Site) -> None:
    browser = signed_in(site, "admin")
    fields = {"by": "cohorts", "cohorts": site.world.user_id}
    assert UNCONFIRMED in browser.post("/dashboard/forget", page="/dashboard/forget", **fields).text
    assert not requests(site)
    assert browser.post("/dashboard/forget", page="/dashboard/forget", sure="yes", **fields).status_code == 303
    assert requests(site)[0].selector["cohorts"] == [site.world.user_id]


def test_a_form_that_says_too_little_files_nothing(site: Site) -> None:
    browser = signed_in(site, "admin")
    wrong: list[tuple[dict[str, str], str]] = [
        ({"by": "everything"}, UNCONFIRMED),
        ({"by": "cohorts", "sure": "yes"}, NO_COHORT),
        ({"by": "classes", "classes": "one"}, NO_NUMBERS),
        ({"by": "classes", "classes": "-1"}, NO_NUMBERS),
        ({"by": "classes"}, "does not say what to forget"),
        ({"by": "subject", "subject_type": "email"}, "does not say what to forget"),
        ({"by": "subject", "subject": WHO, "subject_type": "no type!"}, "identifier type"),
        ({"by": "subject", "subject": WHO, "subject_type": "email", "subject_format": "sha1"}, "hexadecimal digits"),
        ({}, "does not say what to forget"),
    ]
    before = site.stored()
    for fields, words in wrong:
        answer = browser.post("/dashboard/forget", page="/dashboard/forget", **fields)
        assert answer.status_code == 422, fields
        assert words in answer.text, (fields, answer.text)
        assert not mentions(answer.text, WHO)  # what was typed is not shown again
    assert site.stored() == before


def test_more_requests_than_a_tenant_may_have_are_refused_in_words(site: Site) -> None:
    browser = signed_in(site, "admin")
    site.settings.max_open_requests = 1
    fields = {"by": "everything", "sure": "yes"}
    assert browser.post("/dashboard/forget", page="/dashboard/forget", **fields).status_code == 303
    refused = browser.post("/dashboard/forget", page="/dashboard/forget", **fields)
    assert (refused.status_code, len(requests(site)), len(acts(site))) == (422, 1, 1)
    assert "quota" in refused.text


def test_a_failed_job_is_tried_again(site: Site) -> None:
    browser = signed_in(site, "admin")
    site.world.forget(WHO)
    with site.world.ledger.database.begin() as tx:
        job = tx.session.execute(select(Job)).scalars().first()
        assert job is not None
        job_id = job.id
    at = f"/dashboard/jobs/{job_id}/retry"
    assert browser.post(at, page="/dashboard/keys").status_code == 409  # it has not failed
    with site.world.ledger.database.begin() as tx:
        tx.session.execute(update(Job).where(Job.id == job_id).values(state="failed", error="the disk is full"))
    again = browser.post(at, page="/dashboard/keys", next="/dashboard/requests")
    assert (again.status_code, again.headers["location"]) == (303, "/dashboard/requests")
    with site.world.ledger.database.read() as tx:
        assert tx.session.get_one(Job, job_id).state == "ready"
    assert [act[1:] for act in acts(site)] == [("job.retried", str(job_id))]


def test_an_auditor_is_shown_no_form(site: Site) -> None:
    auditor = signed_in(site, "audit:read")
    assert "Only an admin files requests" in auditor.get("/dashboard/forget").text
    shown = auditor.get("/dashboard/keys").text
    assert shown.count("<form") == 1  # to sign out
    assert "<form" not in site.client.get("/dashboard/keys").text  # with a key in a header there is no session to leave


def test_nothing_of_another_tenant_is_changed(site: Site) -> None:
    request_id = site.world.forget(WHO)
    other = Browser(site)
    assert other.sign_in(key=site.key("admin", tenant_id=site.other_tenant())).status_code == 303
    assert other.post(f"/dashboard/requests/{request_id}/cancel", page="/dashboard/keys").status_code == 404
    assert requests(site)[0].state == "accepted"
    assert not acts(site)
