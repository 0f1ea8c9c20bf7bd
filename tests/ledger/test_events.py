"""Events: one spelling of what happened, and the leaf hash of the standard."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import select
from support.world import NewWorld

from evidence.merkle import leaf_hash
from ledger import events
from ledger.tables import Event


def test_leaf_hashes_are_those_of_rfc_9162() -> None:
    """SHA-256 of a zero byte and the content: the public test vector for an empty leaf, and another one."""
    assert leaf_hash(b"").hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert leaf_hash(b"L123456").hex() == "395aa064aa4c29f7010acfe3f25db9485bbd4b91897b6ad7ad547639252b4d56"


def test_a_body_has_one_spelling() -> None:
    body = {"b": [1, True, None], "a": "Grüße", "c": {"z": 1, "y": 2}}
    spelled = events.canonical_bytes(body)
    assert spelled == '{"a":"Grüße","b":[1,true,null],"c":{"y":2,"z":1}}'.encode()
    assert events.canonical_bytes(dict(reversed(body.items()))) == spelled
    with pytest.raises(ValueError, match="JSON"):
        events.canonical_bytes({"a": float("nan")})


def test_an_event_is_stored_as_it_is_hashed(new_world: NewWorld, database_url: str) -> None:
    world = new_world(database_url, core_people=1)
    with world.ledger.database.begin() as tx:
        events.append(tx, world.tenant_id, "test", "subject", number=7)
        now = tx.now
    with world.ledger.database.read() as tx:
        row = tx.session.execute(select(Event).where(Event.kind == "test")).scalar_one()
    assert row.leaf_hash == leaf_hash(row.body)
    assert json.loads(row.body) == {
        "v": 1,
        "tenant": world.tenant_id,
        "kind": "test",
        "subject": "subject",
        "at": now,
        "number": 7,
    }
