"""A Celery worker's sign of life: a file that is touched while it listens; and connecting anew where it is deaf."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from celery.worker import state
from redis.exceptions import ConnectionError as RedisConnectionError

from workers.liveness import EVERY_S, Liveness


@dataclass
class Consumer:
    """Stands in for Celery's consumer: whether its channel takes messages, and a timer that the test turns."""

    takes: bool = True
    every: list[float] = field(default_factory=list)
    cancelled: int = 0
    turn: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        channel = SimpleNamespace(qos=SimpleNamespace(can_consume=lambda: self.takes))
        self.task_consumer, self.timer = SimpleNamespace(channel=channel), self

    def call_repeatedly(self, every_s: float, call: Callable[..., None], arguments: tuple[Any, ...]) -> Consumer:
        self.every.append(every_s)
        self.turn = lambda: call(*arguments)
        return self

    def cancel(self) -> None:
        self.cancelled += 1


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The messages that a worker has in hand."""
    held: set[str] = set()
    monkeypatch.setattr(state, "reserved_requests", held)
    return held


def test_the_file_is_touched_from_connecting_to_losing_the_connection(tmp_path: Path, requests: set[str]) -> None:
    alive, consumer = tmp_path / "alive", Consumer()
    step = Liveness.touching(alive)(consumer)
    assert not alive.exists()
    step.start(consumer)
    assert alive.exists()
    alive.unlink()
    consumer.turn()
    assert alive.exists()
    step.stop(consumer)
    step.stop(consumer)
    assert (consumer.every, consumer.cancelled) == ([EVERY_S], 1)


def test_a_channel_that_takes_nothing_and_does_nothing_twice_is_left(tmp_path: Path, requests: set[str]) -> None:
    alive, consumer = tmp_path / "alive", Consumer()
    step = Liveness.touching(alive)(consumer)
    step.start(consumer)
    for _ in range(3):  # one look may come between a message's end and its acknowledgement
        consumer.takes = False
        consumer.turn()
        consumer.takes = True
        consumer.turn()
    consumer.takes = False
    consumer.turn()
    alive.unlink()
    with pytest.raises(RedisConnectionError):
        consumer.turn()
    assert not alive.exists()
    step.start(consumer)  # on the new connection
    assert alive.exists()


def test_a_worker_with_a_job_in_hand_may_take_no_other(requests: set[str]) -> None:
    consumer = Consumer(takes=False)
    requests.add("a job")
    Liveness.touching(None)(consumer).start(consumer)
    consumer.turn()
    consumer.turn()
