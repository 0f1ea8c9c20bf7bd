"""Who tells workers: the application if there is a Redis; and what the command line says where there is none."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis
from fastapi.testclient import TestClient
from support.command_line import Lacuna
from support.proxy import Proxy
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


@pytest.mark.parametrize("how", ["away", "silent"])
def test_a_redis_that_does_not_answer_delays_nobody(world: World, redis_address: str, tmp_path: Path, how: str) -> None:
    """Requests are accepted at once, and their jobs become messages when Redis answers again."""
    world.upload(person("ada"))
    world.work()
    proxy = Proxy(int(urlsplit(redis_address).port or 0))
    through = redis_address.replace(f":{urlsplit(redis_address).port}/", f":{proxy.port}/")
    app = create_app(ServiceSettings(data_dir=tmp_path, redis_url=through), ledger=world.ledger)
    with TestClient(app) as client, redis.Redis.from_url(redis_address) as messages:
        with world.ledger.database.begin() as tx:
            key = tenants.create_key(tx, world.tenant_id, "key", tenants.SCOPES)
        (proxy.take_away if how == "away" else proxy.fall_silent)()
        took_s = []
        for _ in range(5):
            begun = time.monotonic()
            body = {"subjects": [{"value": "ada"}]}
            answer = client.post("/v1/forget-requests", json=body, headers={"Authorization": f"Bearer {key}"})
            assert answer.status_code == 202
            took_s.append(time.monotonic() - begun)
        assert min(took_s) < 1, "the best of them, since this machine may be busy"
        assert messages.llen("cpu") == 0
        (proxy.give_back if how == "away" else proxy.speak)()
        wait_until(lambda: messages.llen("cpu") >= 1, 60, "the message")
    proxy.take_away()


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
