"""Somebody who can write to the store, or to the database too, puts another version's weights in the place of these.

What predictions name is what a certificate names: a process that loads weights compares them with the commitment of the
version that it wants, and answers with no others.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from sqlalchemy import update
from structlog.testing import capture_logs
from support.site import Site, open_site
from support.waiting import wait_until
from support.world import NewWorld, World, person

from ledger import artifacts, dsse
from ledger.errors import ObjectCorrupt
from ledger.serving import Servable, servable
from ledger.tables import ModelVersion, StoredObject
from service.serving.model import load
from workers.runner import run_next

Sealed = tuple[str, bytes]  # an object's name and its bytes


@pytest.fixture(params=["sqlite", "postgres"])
def world(request: pytest.FixtureRequest, new_world: NewWorld) -> World:
    """A world with a model of three people."""
    made = new_world(None if request.param == "sqlite" else request.getfixturevalue("fresh_postgres_database"))
    return with_model(made)


def with_model(world: World) -> World:
    world.upload(*(person(name) for name in "abc"))
    world.register()
    world.work()
    return world


def weights_of(world: World) -> Sealed:
    name = world.active().weights_object or ""
    return name, world.ledger.objects.read(name)


def put_object(world: World, new: Sealed, old: Sealed) -> None:
    """Overwrite the new version's object with the old one's bytes."""
    world.ledger.objects.write(new[0], [old[1]])


def put_object_and_its_hash(world: World, new: Sealed, old: Sealed) -> None:
    """The same, and make the database say that these are the object's bytes."""
    put_object(world, new, old)
    with world.ledger.database.begin() as tx:
        hashed = hashlib.sha256(old[1]).hexdigest()
        named = StoredObject.name == new[0]
        tx.session.execute(update(StoredObject).where(named).values(sha256=hashed, size=len(old[1])))


def point_to_the_old_object(world: World, new: Sealed, old: Sealed) -> None:
    """Let the new version's row name the old one's object."""
    with world.ledger.database.begin() as tx:
        tx.session.get_one(ModelVersion, world.active().id).weights_object = old[0]


def wanted(world: World) -> Servable:
    with world.ledger.database.read() as tx:
        (found,) = servable(tx)
    return found


def test_another_versions_weights_are_refused(world: World) -> None:
    old = weights_of(world)
    world.forget("a")
    while world.active().number == 1:  # the old version is not destroyed yet: that is for the purge
        assert run_next(world.deps)
    new = weights_of(world)
    for swap, told in (
        (put_object, "SHA-256"),
        (put_object_and_its_hash, "not the content that was committed to"),
        (point_to_the_old_object, "not the content that was committed to"),
    ):
        assert load(world.ledger, wanted(world), None).number == 2
        swap(world, new, old)
        name = wanted(world).weights_object
        if swap is not put_object:  # by itself what lies there is whole: it decrypts, and is another version's
            artifacts.open_artifact(world.ledger, name, artifacts.weights_context(world.model_id))
        with pytest.raises(ObjectCorrupt, match=told):
            load(world.ledger, wanted(world), None)
        put_object_and_its_hash(world, new, new)


def test_predictions_name_the_version_that_the_certificate_names(any_site: Site, tmp_path: Path) -> None:
    world, ask = with_model(any_site.world), {"instances": person("b").x.tolist()}
    at = f"/v1/models/{world.model_id}/predict"
    old = weights_of(world)
    request_id = any_site.client.post("/v1/forget-requests", json={"subjects": [{"value": "a"}]}).json()["id"]
    world.work()
    certificate = any_site.client.get(f"/v1/forget-requests/{request_id}/certificate").content
    statement = json.loads(dsse.verify_envelope(certificate, world.ledger.ring.public_key_pem()))
    (named,) = statement["predicate"]["models"]
    wait_until(lambda: any_site.client.post(at, json=ask).status_code == 200, 20, "the new version to be served")
    assert any_site.client.post(at, json=ask).json()["model_version"] == named["version"] == 2
    new = weights_of(world)
    salt, body = artifacts.open_artifact(world.ledger, new[0], artifacts.weights_context(world.model_id))
    assert artifacts.commitment(salt, body) == named["weights_commitment"]
    assert statement["subject"][0]["digest"] == {"hmac-sha256": named["weights_commitment"]}

    put_object_and_its_hash(world, new, old)
    with capture_logs() as logs, open_site(world, tmp_path / "fresh") as fresh:  # it has only what lies in the store
        wait_until(
            lambda: any(line["event"] == "serving.unreadable" for line in logs), 20, "the weights to be looked at"
        )
        refused = fresh.client.post(at, json=ask)
        assert (refused.status_code, refused.json()["type"]) == (503, "/problems/not-serving")
