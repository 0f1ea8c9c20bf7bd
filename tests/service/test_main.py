"""Starting and stopping the application."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from support.site import open_site
from support.world import NewWorld

from ledger import uploads
from ledger.errors import MigrationNeeded
from ledger.tables import Upload
from service.main import create_app
from service.settings import ServiceSettings


def test_an_embedded_ledger_is_made_on_first_start(tmp_path: Path) -> None:
    settings = ServiceSettings(data_dir=tmp_path / "data")
    for _ in range(2):
        with TestClient(create_app(settings)) as client:
            assert client.get("/healthz").json() == {"status": "ok"}
            ready = client.get("/readyz").json()
            assert (ready["status"], ready["serving"]) == ("ok", True)


def test_another_database_is_never_migrated_by_the_way(fresh_postgres_database: str, tmp_path: Path) -> None:
    settings = ServiceSettings(data_dir=tmp_path / "data", database_url=fresh_postgres_database)
    with pytest.raises(MigrationNeeded), TestClient(create_app(settings)):
        pass


def test_uploads_of_a_dead_process_are_taken_back(new_world: NewWorld, tmp_path: Path) -> None:
    world = new_world()
    upload_id = uploads.begin(world.ledger, world.tenant_id, world.user_id)
    with open_site(world, tmp_path), world.ledger.database.read() as tx:
        assert tx.session.get_one(Upload, upload_id).state == "failed"


def test_on_a_shared_database_an_upload_that_another_process_receives_is_left_alone(
    new_world: NewWorld, fresh_postgres_database: str, tmp_path: Path
) -> None:
    world = new_world(fresh_postgres_database)
    upload_id = uploads.begin(world.ledger, world.tenant_id, world.user_id)
    with open_site(world, tmp_path), world.ledger.database.read() as tx:
        assert tx.session.get_one(Upload, upload_id).state == "receiving"


def test_every_setting_is_described() -> None:
    for name, field in ServiceSettings.model_fields.items():
        assert field.description, name
        assert field.description.endswith("."), name


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LACUNA_LEASE_TTL_MS", "700")
    assert ServiceSettings().lease_ttl_ms == 700
