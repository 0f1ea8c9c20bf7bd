"""`lacuna audit replay` as an auditor runs it: with the database's role that only reads."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url
from support.command_line import Lacuna
from support.world import NewWorld, World, person

from ledger.log import proofs
from ledger.log.sequencer import sequence
from ledger.roles import set_roles
from ledger.tables import Certificate
from service.commands import auditing


@pytest.fixture
def world(new_world: NewWorld, fresh_postgres_database: str) -> World:
    world = new_world(fresh_postgres_database, core_people=4)
    world.upload(*(person(f"person-{i}") for i in range(3)))
    world.register()
    world.work()
    world.forget("person-1")
    world.work()
    sequence(world.ledger.database, world.ledger.ring)
    return world


@pytest.fixture
def auditor_url(world: World, fresh_postgres_database: str) -> Iterator[str]:
    """The database as somebody sees it who is only in the auditors' role."""
    app, auditor = (f"lacuna_{who}_{secrets.token_hex(4)}" for who in ("app", "auditor"))
    password, login = secrets.token_hex(8), f"{auditor}_login"
    set_roles(world.ledger.database.engine, app=app, auditor=auditor)
    owner = make_url(fresh_postgres_database).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(owner, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {login} LOGIN PASSWORD '{password}' IN ROLE {auditor}")
        yield (
            make_url(fresh_postgres_database)
            .set(username=login, password=password)
            .render_as_string(hide_password=False)
        )
        for role in (login, app, auditor):
            admin.execute(f"DROP OWNED BY {role} CASCADE")
            admin.execute(f"DROP ROLE {role}")


def test_an_auditor_replays_a_model(
    world: World, auditor_url: str, lacuna: Lacuna, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LACUNA_DATABASE_URL", auditor_url)
    monkeypatch.setenv("LACUNA_DATA_DIR", str(world.ledger.ring.directory.parent))
    Path("service.pem").write_text(world.ledger.ring.public_key_pem())
    with world.ledger.database.read() as tx:
        Path("kept.txt").write_text(proofs.newest_checkpoint(tx).note)
    command = ("audit", "replay", "model", "--key", "service.pem", "--checkpoint", "kept.txt", "--challenge", "dice")
    said = lacuna(*command)
    assert (said.status, "FAIL" in said.out) == (0, False), said
    assert "everything holds" in said.out
    assert "1 of 1 certified requests" in " ".join(said.out.split())
    with world.ledger.database.begin() as tx:
        tx.session.query(Certificate).delete()
    said = lacuna(*command, "--json")
    assert said.status == 1
    report = json.loads(said.out)
    assert [check["name"] for check in report["checks"] if not check["passed"]] == ["requests"]
    assert report["sample"]["requests"] == 1


def test_what_cannot_be_replayed_is_not_called_wrong(lacuna: Lacuna, monkeypatch: pytest.MonkeyPatch) -> None:
    said = lacuna("audit", "replay", "model")
    assert said.status == 5
    assert "master.key is not there" in said.err
    assert not Path("lacuna-data").exists(), "an audit makes nothing"
    report = {"model": "0" * 32, "version": 3, "passed": False, "sample": {}, "checks": []}
    report["checks"] = [{"name": "rows", "passed": False, "what": "[b]lost[/b]"}]
    report["sample"] = {"checkpoint_size": 4, "drawn": [], "requests": 0, "requests_after_checkpoint": 0}
    monkeypatch.setattr(auditing, "_run", lambda _: report)
    said = lacuna("audit", "replay", "model")
    assert said.status == 1
    assert "FAIL  rows   [b]lost[/b]" in said.out
