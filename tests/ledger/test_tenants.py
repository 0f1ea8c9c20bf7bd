"""Tenants and keys: a key opens one tenant's door, and only while it is valid."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from sqlalchemy import select, update
from support.clock import FixedClock
from support.world import NewWorld, World

from ledger import tenants
from ledger.database import Database
from ledger.errors import KeyRefused, KeyUnavailable
from ledger.keys import KeyRing
from ledger.ledger import open_ledger
from ledger.migrate import upgrade
from ledger.settings import LedgerSettings
from ledger.tables import ApiKey, Tenant


@pytest.fixture
def world(new_world: NewWorld, database_url: str) -> World:
    return new_world(database_url, core_people=1)


@pytest.fixture
def database(world: World, clock: FixedClock) -> Database:
    return Database(world.ledger.database.engine, clock, world.ledger.database.random)


def test_a_key_opens_its_own_tenant_with_its_scopes(world: World, database: Database) -> None:
    with database.begin() as tx:
        other = tenants.create_tenant(tx, world.ledger.ring, "other")
        mine, theirs = (tenants.create_key(tx, t, "k", ("predict",)) for t in (world.tenant_id, other.id))
        assert mine != theirs
        assert tenants.authenticate(tx, mine).tenant_id == world.tenant_id
        key = tenants.authenticate(tx, theirs)
        assert (key.tenant_id, key.scopes, key.label) == (other.id, ["predict"], "k")
        assert tenants.tenant_name(tx, other.id) == "other"


def test_only_a_digest_of_the_key_is_kept(world: World, database: Database) -> None:
    with database.begin() as tx:
        secret = tenants.create_key(tx, world.tenant_id, "k")
        (row,) = tx.session.execute(select(ApiKey)).scalars()
        assert row.sha256 == hashlib.sha256(secret.encode()).digest()
        assert row.scopes == list(tenants.SCOPES)
    assert len(secret) > 43
    with database.engine.connect() as connection:
        kept = connection.execute(ApiKey.__table__.select()).one()
    assert secret not in str(kept)


def test_a_key_ends_at_its_time_or_when_it_is_revoked(world: World, database: Database, clock: FixedClock) -> None:
    with database.begin() as tx:
        expiring, revoked = (tenants.create_key(tx, world.tenant_id, label) for label in ("expiring", "revoked"))
        tx.session.execute(update(ApiKey).where(ApiKey.label == "expiring").values(expires_at=clock() + 10))
    clock.advance(microseconds=9)
    with database.read() as tx:
        tenants.authenticate(tx, expiring)
        tenants.authenticate(tx, revoked)
    clock.advance(microseconds=1)
    with database.begin() as tx:
        tx.session.execute(update(ApiKey).where(ApiKey.label == "revoked").values(revoked_at=clock()))
    messages = set()
    with database.read() as tx:
        for secret in (expiring, revoked, "lacuna_unknown", ""):
            with pytest.raises(KeyRefused) as problem:
                tenants.authenticate(tx, secret)
            messages.add(str(problem.value))
    assert len(messages) == 1


def test_every_tenant_hashes_identifiers_under_a_key_of_its_own(world: World, database: Database) -> None:
    with database.begin() as tx:
        other = tenants.create_tenant(tx, world.ledger.ring, "other")
        mine, theirs = (tenants.alias_hasher(tx, world.ledger.ring, t) for t in (world.tenant_id, other.id))
        again = tenants.alias_hasher(tx, world.ledger.ring, world.tenant_id)
        assert mine.lookup("email", "raw", "a@x.org").hmac == again.lookup("email", "raw", "a@x.org").hmac
        assert mine.lookup("email", "raw", "a@x.org").hmac != theirs.lookup("email", "raw", "a@x.org").hmac
        tx.session.flush()
        stolen = tx.session.get_one(Tenant, other.id).identifier_key
        tx.session.get_one(Tenant, world.tenant_id).identifier_key = stolen
        with pytest.raises(KeyUnavailable):  # wrapped for its tenant alone
            tenants.alias_hasher(tx, world.ledger.ring, world.tenant_id)
        tx.session.rollback()


def test_only_the_master_key_of_this_database_will_do(world: World, database: Database, tmp_path: Path) -> None:
    other = KeyRing.open(tmp_path / "keys", random=os.urandom)
    with database.read() as tx:
        tenants.require_keys(tx, world.ledger.ring)
        with pytest.raises(KeyUnavailable, match="not the one that this database's keys are closed with"):
            tenants.require_keys(tx, other)


def test_a_database_without_tenants_takes_any_keys(database_url: str, tmp_path: Path) -> None:
    settings = LedgerSettings(data_dir=tmp_path / "data", database_url=database_url)
    ledger = open_ledger(settings, clock=lambda: 1, random=os.urandom)
    upgrade(ledger.database.engine)
    with ledger.database.read() as tx:
        tenants.require_keys(tx, ledger.ring)
    ledger.close()
