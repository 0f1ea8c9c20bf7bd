"""Who tells workers: the application if there is a Redis; and what the command line says where there is none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from fastapi.testclient import TestClient
from support.command_line import Lacuna
from support.valkey import start_valkey
from support.waiting import wait_until
from support.world import NewWorld, World, person

from ledger import tenants
from service.dispatching import start_dispatcher
from service.main import create_app
from service.settings import ServiceSettings


@pytest.fixture
def redis_address() -> Iterator[str]:
    server, url = start_valkey()
    yield url
    server.stop()


@pytest.fixture
def world(new_world: NewWorld) -> World:
    made = new_world(core_people=1)
    made.work()
    return made


def test_an_accepted_request_becomes_a_message(world: World, redis_address: str, tmp_path: Path) -> None:
    world.upload(person("ada"))
    world.work()
    app = create_app(ServiceSettings(data_dir=tmp_path, redis_url=redis_address), ledger=world.ledger)
    with TestClient(app) as client, redis.Redis.from_url(redis_address) as messages:
        with world.ledger.database.begin() as tx:
            key = tenants.create_key(tx, world.tenant_id, "key", tenants.SCOPES)
        assert messages.llen("cpu") == 0
        body = {"subjects": [{"value": "ada"}]}
        answer = client.post("/v1/forget-requests", json=body, headers={"Authorization": f"Bearer {key}"})
        assert answer.status_code == 202
        wait_until(lambda: messages.llen("cpu") == 1, 30, "the message")


def test_without_a_redis_nobody_is_told(world: World, tmp_path: Path) -> None:
    assert start_dispatcher(ServiceSettings(data_dir=tmp_path), world.ledger) is None


def test_an_address_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "redis-url"
    file.write_text("redis://:secret@example.invalid:6379/0\n")
    settings = ServiceSettings(redis_url="redis://other", redis_url_file=file)
    assert settings.resolved_redis_url() == "redis://:secret@example.invalid:6379/0"


def test_a_queue_without_a_redis_is_refused(lacuna: Lacuna) -> None:
    said = lacuna("worker", "--queue", "cpu")
    assert said.status != 0
    assert "LACUNA_REDIS_URL" in said.err
