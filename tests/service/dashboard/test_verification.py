"""Checking a certificate in front of the visitor: each check by itself, and what makes it fail."""

from __future__ import annotations

import base64
import json

from sqlalchemy import update
from support.pages import page
from support.site import Site
from support.told import erase

from evidence.dsse import IN_TOTO
from ledger import dsse
from ledger.events import canonical_bytes
from ledger.key_rotation import rotate
from ledger.keys import KeyRing
from ledger.log.sequencer import sequence
from ledger.tables import Certificate, ModelVersion


def ends(site: Site, request_id: str) -> dict[str, str]:
    """Return how each check ended, by its name."""
    shown = page(site, f"/dashboard/requests/{request_id}/verify")
    return {check.partition(":")[0]: check.partition(": ")[2].split()[0] for check in shown.text("check")}


def replace_envelope(site: Site, request_id: str, envelope: bytes) -> None:
    with site.world.ledger.database.begin() as tx:
        changed = update(Certificate).where(Certificate.request_id == request_id).values(envelope=envelope)
        assert tx.session.connection().execute(changed).rowcount == 1


def test_every_check_is_shown_and_stays_true_after_a_new_key_and_the_next_erasure(site: Site, erased: str) -> None:
    passed = {
        "signature": "passed",
        "form and consistency": "passed",
        "place in the log": "passed",
        "served now by churn": "passed",
    }
    assert ends(site, erased) == passed
    part = site.client.get(f"/dashboard/requests/{erased}/verify", headers={"HX-Request": "true"})
    assert "<html" not in part.text  # a script puts the checks into the page
    assert "Version 2 answers, the version named" in part.text
    assert f"certificate-{erased}.tlog-proof" in part.text
    rotate(site.world.ledger)
    latest = erase(site, "barnaby", log=False)
    assert ends(site, erased) == passed
    assert ends(site, latest) == passed | {"place in the log": "open"}
    assert "valid as far as can be said now" in site.client.get(f"/dashboard/requests/{latest}/verify").text
    sequence(site.world.ledger.database, site.world.ledger.ring)
    assert ends(site, latest) == passed
    assert "nats left" in page(site, f"/dashboard/requests/{erased}").text("certificate")[0]  # of the key before
    assert "The log is whole" in page(site, "/dashboard/log/check").text("outcome")[0]
    assert "Version 3 answers, made after version 2" in site.client.get(f"/dashboard/requests/{erased}/verify").text


def test_what_is_not_so_is_shown_in_red(site: Site, erased: str) -> None:
    """One site for all ways to go wrong: making one takes seconds."""
    envelope = site.client.get(f"/dashboard/requests/{erased}/certificate.json").content
    for changed in (with_changed_byte(envelope), b"no envelope at all"):
        replace_envelope(site, erased, changed)
        assert ends(site, erased) == {"signature": "FAILED"}
        assert "NOT VALID" in site.client.get(f"/dashboard/requests/{erased}/verify").text
        shown = page(site, f"/dashboard/requests/{erased}")
        assert shown.text("certificate")[0].startswith("The certificate was changed")
        assert "nats left" not in shown.text("certificate")[0]

    replace_envelope(site, erased, with_contradiction(envelope, site.world.ledger.ring))  # signed with our own key
    assert ends(site, erased) == {
        "signature": "passed",
        "form and consistency": "FAILED",
        "place in the log": "FAILED",
        "served now by churn": "passed",
    }
    replace_envelope(site, erased, envelope)

    with site.world.ledger.database.begin() as tx:  # other weights than those named
        other = update(ModelVersion).where(ModelVersion.state == "active").values(weights_commitment="0" * 64)
        tx.session.execute(other)
    assert ends(site, erased)["served now by churn"] == "FAILED"
    assert "with another commitment" in page(site, f"/dashboard/requests/{erased}/verify").text("verification")[0]

    with site.world.ledger.database.begin() as tx:  # a later version's weights that do not open their commitment
        tx.session.execute(update(ModelVersion).where(ModelVersion.state == "active").values(number=3))
    assert ends(site, erased)["served now by churn"] == "FAILED"
    assert "not the content that was committed to" in site.client.get(f"/dashboard/requests/{erased}/verify").text


def with_changed_byte(envelope: bytes) -> bytes:
    found = json.loads(envelope)
    payload = base64.b64decode(found["payload"]).replace(b'"erased"', b'"Erased"')
    return json.dumps(found | {"payload": base64.b64encode(payload).decode()}, separators=(",", ":")).encode()


def with_contradiction(envelope: bytes, ring: KeyRing) -> bytes:
    statement = json.loads(base64.b64decode(json.loads(envelope)["payload"]))
    statement["predicate"]["facts"]["gone"]["holds"] = False
    return dsse.sign_envelope(canonical_bytes(statement), IN_TOTO, ring)
