"""What the Celery application is set to, and what a child does with a message."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
import structlog
from celery import signals
from sqlalchemy.exc import OperationalError
from support.valkey import start_valkey
from support.world import NewWorld, World, person

from ledger.broker import RUN_JOB
from ledger.errors import KeyUnavailable, MigrationNeeded, StoreFailed, StoreUnsuitable
from unlearning.errors import ArchitectureRefused
from workers import celery_app, hands
from workers.celery_app import create_app
from workers.deps import Deps
from workers.errors import DeviceMissing
from workers.hands import Hands
from workers.settings import WorkerSettings

LIMIT_S = 60


@pytest.fixture(scope="module")
def redis_address() -> Iterator[str]:
    server, url = start_valkey()
    yield url
    server.stop()


@pytest.fixture
def settings(redis_address: str) -> WorkerSettings:
    return WorkerSettings(redis_url=redis_address, job_limit_s=LIMIT_S)


@dataclass
class Diary:
    """Stands in for a child's hands."""

    jobs: list[int] = field(default_factory=list)

    def run(self, job_id: int) -> None:
        self.jobs.append(job_id)


def test_a_task_is_a_jobs_number(settings: WorkerSettings) -> None:
    diary = Diary()
    app = create_app(settings, diary)  # type: ignore[arg-type]
    app.tasks[RUN_JOB](17)
    assert diary.jobs == [17]


def test_the_settings_that_the_ledger_relies_on(settings: WorkerSettings) -> None:
    conf = create_app(settings, Diary()).conf  # type: ignore[arg-type]
    assert conf.task_acks_late is True
    assert conf.task_reject_on_worker_lost is True
    assert (conf.worker_prefetch_multiplier, conf.worker_concurrency) == (1, 1)
    assert conf.task_time_limit == LIMIT_S < conf.broker_transport_options["visibility_timeout"]
    assert conf.task_ignore_result is True
    assert conf.result_backend is None
    assert conf.accept_content == ["json"]
    assert conf.broker_connection_retry_on_startup is True
    assert conf.broker_connection_max_retries is None
    assert conf.worker_cancel_long_running_tasks_on_connection_loss is False


@pytest.mark.parametrize(
    ("problem", "stays"),
    [
        (OperationalError("SELECT", {}, Exception("away")), True),
        (StoreFailed("the object store answered nothing"), True),
        (StoreUnsuitable("the bucket keeps versions"), False),
        (KeyUnavailable("they are those of another installation"), False),
        (MigrationNeeded("0001", "0002"), False),
        (DeviceMissing("cuda"), False),
        (ArchitectureRefused("mine", "there is no such module"), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_child_that_can_never_work_ends_its_parent(
    settings: WorkerSettings, monkeypatch: pytest.MonkeyPatch, problem: Exception, stays: bool
) -> None:
    """Else Celery would go on, and lose every message. What is only away for a while is waited for."""

    class Failing(Hands):
        def open(self) -> None:
            raise problem

    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: sent.append((pid, number)))
    monkeypatch.setattr(celery_app, "configure_logs", lambda _: None)
    failing = Failing(settings)
    create_app(settings, failing)
    _, opens = signals.worker_process_init.receivers[-1]
    for attempt in (opens, lambda: failing.run(1)):  # when the process begins, and at a job
        sent.clear()
        with structlog.testing.capture_logs() as said:
            attempt()
        assert sent == ([] if stays else [(os.getppid(), signal.SIGQUIT)])
        (line,) = said
        assert line["log_level"] == ("warning" if stays else "error")
        assert stays or line["why"] == str(problem)


def test_the_parent_never_loads_torch() -> None:
    script = (
        "import sys; import workers.celery_worker, workers.celery_app, workers.hands, workers.reconciler; "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.fixture
def world(new_world: NewWorld) -> World:
    return new_world(core_people=1)


@pytest.fixture
def opened(world: World, settings: WorkerSettings) -> Iterator[Hands]:
    def build(_: WorkerSettings) -> Deps:
        return world.deps

    made = Hands(settings, build)
    made.open()
    yield made
    made.close()


def test_a_message_does_its_job_once_and_no_other(world: World, opened: Hands) -> None:
    for name in ("a", "b"):
        world.upload(person(name))
    first, second = (job.id for job in world.jobs("ready"))
    opened.run(second)
    assert [job.id for job in world.jobs("done")] == [second]
    opened.run(second)
    opened.run(10**9)
    opened.run(first)
    assert {job.id: job.attempts for job in world.jobs("done")} == {first: 1, second: 1}


def test_a_message_while_the_database_is_away_is_let_go(
    world: World, opened: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object, **__: object) -> None:
        raise OperationalError("SELECT secret", {}, Exception("away"))

    world.upload(person("a"))
    job = world.jobs("ready")[0].id
    with monkeypatch.context() as patch:
        patch.setattr(hands.jobs, "claim", away)
        opened.run(job)
    assert world.jobs("done") == []
    opened.run(job)
    assert [done.id for done in world.jobs("done")] == [job]
