"""Messages on a real Valkey: a number, in the right list, in the right order, and no waiting when nobody answers."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator

import pytest
import redis
from support.ports import free_port
from support.valkey import start_valkey

from ledger import jobs
from ledger.broker import CPU, GPU, Broker, connection_settings
from ledger.errors import BrokerUnreachable
from ledger.nudges import Nudge

LIMIT_S = 60


@pytest.fixture(scope="module")
def valkey() -> Iterator[str]:
    """A server of our own: these tests read and empty whole queues."""
    server, url = start_valkey()
    yield url
    server.stop()


@pytest.fixture
def broker(valkey: str) -> Iterator[Broker]:
    with redis.Redis.from_url(valkey) as client:
        client.flushall()
    made = Broker(valkey, job_limit_s=LIMIT_S, gpu_jobs="train_core, ingest_model")
    yield made
    made.close()


def test_a_message_is_a_number_and_nothing_else(broker: Broker, valkey: str) -> None:
    broker.send(Nudge(17, jobs.ADVANCE, 1, 3, 99))
    with redis.Redis.from_url(valkey) as client:
        message = json.loads(client.rpop(CPU))
    assert message["content-type"] == "application/json"
    assert json.loads(base64.b64decode(message["body"]))[0] == [17]
    assert message["headers"]["argsrepr"] == "(17,)"
    assert message["properties"]["delivery_info"]["exchange"] == "", "needs no binding, which a flush would delete"


def test_kinds_go_to_their_queues_and_urgent_ones_to_the_front_list(broker: Broker, valkey: str) -> None:
    for number, (kind, priority) in enumerate(jobs.PRIORITY.items()):
        broker.send(Nudge(number, kind, priority, 0, 0))
    assert broker.waiting(GPU) == 2
    assert broker.waiting(CPU) == len(jobs.PRIORITY) - 2
    with redis.Redis.from_url(valkey) as client:
        lists = {key.decode(): client.llen(key) for key in client.keys("[cg]pu*")}
    urgent = sum(1 for priority in jobs.PRIORITY.values() if priority < 5)
    assert lists[CPU] == urgent
    assert sum(lists.values()) == len(jobs.PRIORITY)


def test_nobody_there_is_said_within_seconds() -> None:
    broker = Broker(f"redis://127.0.0.1:{free_port()}/0", job_limit_s=LIMIT_S)
    with pytest.raises(BrokerUnreachable, match="LACUNA_REDIS_URL"):
        broker.send(Nudge(1, jobs.ADVANCE, 1, 0, 0))
    with pytest.raises(BrokerUnreachable):
        broker.waiting(CPU)


def test_a_server_that_comes_back_is_found_again() -> None:
    server, url = start_valkey()
    broker = Broker(url, job_limit_s=LIMIT_S)
    try:
        broker.send(Nudge(1, jobs.ADVANCE, 1, 0, 0))
        server.stop()
        with pytest.raises(BrokerUnreachable):
            broker.send(Nudge(2, jobs.ADVANCE, 1, 0, 0))
        port, password = url.rpartition(":")[2].partition("/")[0], url.split(":")[2].partition("@")[0]
        server, _ = start_valkey(port=int(port), password=password)
        broker.send(Nudge(3, jobs.ADVANCE, 1, 0, 0))
        assert broker.waiting(CPU) == 1
    finally:
        broker.close()
        server.stop()


def test_a_message_comes_back_only_after_its_job_was_killed() -> None:
    settings = connection_settings("redis://127.0.0.1", job_limit_s=LIMIT_S)
    timeouts = [
        settings["visibility_timeout"],
        settings["broker_transport_options"]["visibility_timeout"],
        settings["result_backend_transport_options"]["visibility_timeout"],
    ]
    assert min(timeouts) > LIMIT_S
    assert settings["accept_content"] == ["json"]
