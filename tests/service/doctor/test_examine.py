"""The doctor: silent on a sound installation, and each thing that can be wrong is broken once and found."""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from sqlalchemy import text, update
from support.ports import free_port
from support.world import NewWorld, World, person

from ledger.key_rotation import rotate
from ledger.keys import KeyRing
from ledger.ledger import open_ledger
from ledger.migrate import upgrade
from ledger.objects import open_store
from ledger.settings import LedgerSettings
from ledger.tables import Job, Model, StoredObject
from ledger.tenants import create_tenant
from service.doctor import mathematics, stores
from service.doctor.examine import examine
from service.doctor.finding import Finding, Level
from service.first_start import utc_microseconds
from service.settings import ServiceSettings

CHECKS = [
    "database",
    "migrations",
    "append-only",
    "clock",
    "workers",
    "redis",
    "keys",
    "objects",
    "disk",
    "devices",
    "architectures",
]
MINUTE_US = 60_000_000


@pytest.fixture
def world(new_world: NewWorld, database_url: str) -> World:
    world = new_world(database_url, core_people=4)
    world.upload(person("a"))
    world.register()
    return world


def settings_of(world: World, **changes: Any) -> ServiceSettings:
    engine = world.ledger.database.engine
    url = engine.url.render_as_string(hide_password=False)
    folder = Path(world.ledger.objects._root).parent  # type: ignore[attr-defined]  # a world's store is a folder
    return ServiceSettings(**{"data_dir": folder, "database_url": url, **changes})


def look(settings: ServiceSettings, *, clock: Callable[[], int] = utc_microseconds) -> dict[str, Finding]:
    return {found.check: found for found in examine(settings, clock=clock, random=secrets.token_bytes)}


def sick(settings: ServiceSettings, **how: Any) -> dict[str, Finding]:
    """Return the findings that are wrong; each says what to do."""
    found = {name: one for name, one in look(settings, **how).items() if one.level is Level.WRONG}
    assert all(one.what and one.advice.endswith(".") for one in found.values())
    return found


def test_a_sound_installation_is_sound_and_unchanged(world: World) -> None:
    world.work()
    before = sorted(world.ledger.objects.names())
    found = look(settings_of(world))
    assert list(found) == CHECKS
    levels = {name: one.level for name, one in found.items()}
    skipped = {"redis"} | ({"clock"} if world.ledger.database.is_sqlite else set())
    assert {name for name, level in levels.items() if level is Level.SKIPPED} == skipped
    assert {level for name, level in levels.items() if name not in skipped} == {Level.OK}, found
    assert sorted(world.ledger.objects.names()) == before


def test_an_unreachable_database(world: World) -> None:
    secret = secrets.token_hex(8)
    url = f"postgresql+psycopg://lacuna:{secret}@127.0.0.1:{free_port()}/lacuna"
    found = look(settings_of(world, database_url=url))
    assert found["database"].level is Level.WRONG
    assert found["workers"].level is found["append-only"].level is Level.SKIPPED
    assert found["objects"].level is Level.OK, "the rest is looked at all the same"
    assert secret not in str(found)


def test_a_missing_data_directory_is_not_made(tmp_path: Path) -> None:
    found = sick(ServiceSettings(data_dir=tmp_path / "none"))
    assert set(found) == {"database", "disk"}
    assert not (tmp_path / "none").exists()


def test_tables_of_another_program(world: World) -> None:
    engine = world.ledger.database.engine
    with engine.connect().execution_options(lacuna_write=True) as connection, connection.begin():
        connection.execute(text("ALTER TABLE holds ADD COLUMN extra INTEGER"))
    assert "1 places" in sick(settings_of(world))["migrations"].what
    with engine.connect().execution_options(lacuna_write=True) as connection, connection.begin():
        connection.execute(text("UPDATE alembic_version SET version_num = '0003'"))
    assert "lacuna db upgrade" in sick(settings_of(world))["migrations"].advice


def test_triggers_that_somebody_has_dropped(world: World) -> None:
    engine = world.ledger.database.engine
    names = ["events_no_delete"] if world.ledger.database.is_sqlite else ["events_append_only ON events"]
    with engine.connect().execution_options(lacuna_write=True) as connection, connection.begin():
        for name in names:
            connection.execute(text(f"DROP TRIGGER {name}"))
    found = sick(settings_of(world))
    assert list(found) == ["append-only"]
    assert "events" in found["append-only"].what


def test_clocks_that_stand_apart(new_world: NewWorld, fresh_postgres_database: str) -> None:
    settings = settings_of(new_world(fresh_postgres_database, core_people=1))
    found = sick(settings, clock=lambda: utc_microseconds() - 10_000_000)
    assert "+10" in found["clock"].what
    settings = settings.model_copy(update={"clock_skew_ms": 20_000})
    assert "clock" not in sick(settings, clock=lambda: utc_microseconds() - 10_000_000)


def test_jobs_that_nobody_does(world: World) -> None:
    with world.ledger.database.begin() as tx:
        tx.session.execute(update(Job).values(not_before=tx.now - 5 * MINUTE_US))
    waited = re.search(r"has waited for (\d+) s", sick(settings_of(world))["workers"].what)
    assert waited is not None
    assert 300 <= int(waited.group(1)) < 3600, "five minutes, and what the test itself took"
    with world.ledger.database.begin() as tx:
        first = tx.session.query(Job).first()
        assert first is not None
        first.state, first.lease_until, first.worker = "running", tx.now + MINUTE_US, "somebody"
    assert look(settings_of(world))["workers"].what == "1 jobs are in hand"
    with world.ledger.database.begin() as tx:
        tx.session.execute(update(Job).values(not_before=tx.now + MINUTE_US))
        tx.session.execute(update(Job).where(Job.state == "running").values(lease_until=tx.now - MINUTE_US))
    assert "a worker has died" in sick(settings_of(world))["workers"].what
    with world.ledger.database.begin() as tx:
        tx.session.execute(update(Job).values(state="failed", lease_until=None))
    assert look(settings_of(world))["workers"].level is Level.WARNING


def test_redis(world: World, redis_url: str) -> None:
    assert look(settings_of(world, redis_url=redis_url))["redis"].level is Level.OK
    found = sick(settings_of(world, redis_url=f"redis://:topsecret@127.0.0.1:{free_port()}/0"))
    assert list(found) == ["redis"]
    assert "topsecret" not in str(found)
    server = redis_url.rpartition("@")[2].removeprefix("redis://")
    # A developer's may let everybody in without a name, whatever the password.
    wrong_password = f"redis://somebody:not-this@{server}"
    assert list(sick(settings_of(world, redis_url=wrong_password))) == ["redis"]


@pytest.mark.parametrize("name", ["master.key", "signing.key"])
def test_keys(world: World, name: str) -> None:
    settings = settings_of(world)
    file = Path(settings.data_dir) / "keys" / name
    file.chmod(0o604)
    assert "by others" in sick(settings)["keys"].what
    file.chmod(0o600)
    content = file.read_bytes()
    file.unlink()
    assert "is not there" in sick(settings)["keys"].what
    assert not file.exists(), "the doctor makes no keys"
    file.write_bytes(b"something else")
    file.chmod(0o600)
    assert "cannot be used" in sick(settings)["keys"].what
    file.write_bytes(content)
    assert "keys" not in sick(settings)


def test_the_key_that_signs_is_lost(world: World) -> None:
    signs = rotate(world.ledger).key_id
    assert "keys" not in sick(settings_of(world))
    (world.ledger.ring.directory / f"signing-{signs}.key").rename(world.ledger.ring.directory / "signing.key")
    assert "keys" not in sick(settings_of(world)), "what it is called does not matter"
    (world.ledger.ring.directory / "signing.key").unlink()
    KeyRing.open(world.ledger.ring.directory, random=os.urandom)  # a process that starts makes another one
    assert signs in sick(settings_of(world))["keys"].what


def test_keys_of_another_installation(world: World, tmp_path: Path) -> None:
    other = LedgerSettings(data_dir=tmp_path / "other")
    ledger = open_ledger(other, clock=utc_microseconds, random=os.urandom)
    upgrade(ledger.database.engine)
    with ledger.database.begin() as tx:
        create_tenant(tx, ledger.ring, "other")
    ledger.close()
    assert "not the one" in sick(settings_of(world, key_dir=tmp_path / "other" / "keys"))["keys"].what


def test_objects_that_cannot_be_written(world: World, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    found = sick(settings_of(world, objects_url=f"file://{tmp_path}/file"))
    assert list(found) == ["objects"]
    found = sick(settings_of(world, objects_url="ftp://somewhere"))
    assert "LACUNA_OBJECTS_URL" in found["objects"].what


def test_a_store_that_is_not_this_databases(world: World, tmp_path: Path) -> None:
    """Such as an empty folder where a volume should be mounted."""
    settings = settings_of(world, objects_url=f"file://{tmp_path / 'other'}")
    found = sick(settings)
    assert list(found) == ["objects"]
    known = len(list(world.ledger.objects.names()))
    assert f"{min(known, stores.NEWEST)} of the newest" in found["objects"].what
    with world.ledger.database.begin() as tx:
        tx.session.execute(update(StoredObject).values(state="doomed"))
    assert "objects" not in sick(settings), "what is to be deleted is not missed"


def test_objects_in_a_bucket(world: World, new_bucket: Callable[[], str], s3_server: Any) -> None:
    bucket = new_bucket()
    settings = settings_of(world, objects_url=f"s3://{bucket}/x")
    assert "newest 16 objects that the database knows are not there" in sick(settings)["objects"].what, "none is copied"
    store = open_store(settings.objects_url, Path("unused"))
    for name in world.ledger.objects.names():
        store.write(name, [world.ledger.objects.read(name)])
    assert look(settings)["objects"].level is Level.OK
    for name in world.ledger.objects.names():
        store.delete(name)
    client = s3_server.client()
    assert "Contents" not in client.list_objects_v2(Bucket=bucket)
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    client.close()
    assert "keeps versions" in sick(settings)["objects"].what


def test_a_disk_without_room(world: World) -> None:
    found = stores.disk(settings_of(world), least_free_bytes=2**60)
    assert found.level is Level.WRONG
    assert "GiB" in found.advice


def test_a_device_that_rounds() -> None:
    generator = torch.Generator().manual_seed(1)
    assert mathematics.devices(generator).level is Level.OK
    assert mathematics.devices(generator, dtype=torch.float32).level is Level.WRONG


def test_networks(world: World) -> None:
    found = sick(settings_of(world, architectures="mine=no.such.module:factory"))
    assert list(found) == ["architectures"]
    with world.ledger.database.begin() as tx:
        tx.session.execute(update(Model).values(architecture="once-there"))
    assert "once-there" in sick(settings_of(world))["architectures"].what


def test_a_secret_file_that_is_not_there(world: World, tmp_path: Path) -> None:
    assert list(sick(settings_of(world, database_url_file=tmp_path / "none"))) == ["settings"]


def test_the_command_says_it_in_words_in_json_and_by_its_exit_status(world: World) -> None:
    settings = settings_of(world)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LACUNA_")}
    environment |= {"LACUNA_DATA_DIR": str(settings.data_dir), "LACUNA_DATABASE_URL": str(settings.database_url)}

    def doctor(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "service.cli", "doctor", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)

    fine = doctor("--json")
    assert (fine.returncode, fine.stderr) == (0, "")
    said = json.loads(fine.stdout)
    assert said["ok"] is True
    assert [one["check"] for one in said["findings"]] == CHECKS
    (Path(settings.data_dir) / "keys" / "master.key").chmod(0o604)
    bad = doctor()
    assert bad.returncode == 1
    assert "WRONG   keys: master.key can be read or written by others" in bad.stdout
    assert "chmod 600" in bad.stdout
