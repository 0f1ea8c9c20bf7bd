"""Fixtures for every test: real servers started when first asked for, an own clock, and no other machine in reach."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from support.clock import FixedClock
from support.network import forbid_other_machines
from support.postgres import start_postgres, temporary_database
from support.valkey import start_valkey

if TYPE_CHECKING:
    from support.s3 import S3Server
    from support.world import NewWorld, World

DATABASE_SERVER = os.environ.get("LACUNA_TEST_DATABASE_URL")
REDIS_SERVER = os.environ.get("LACUNA_TEST_REDIS_URL")

# The last bits of a floating-point result depend on the number of threads. Read by torch when a test first imports it.
os.environ["OMP_NUM_THREADS"] = "2"
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # the cores are shared with the processes that the tests start


@pytest.fixture(scope="session", autouse=True)
def stay_on_this_machine() -> Iterator[None]:
    """Raise when a test connects to anything but loopback (and the servers that the developer named)."""
    named = {urlsplit(url).hostname for url in (DATABASE_SERVER, REDIS_SERVER) if url}
    with pytest.MonkeyPatch.context() as patch:
        forbid_other_machines(patch, allowed_hosts={host for host in named if host})
        yield


@pytest.fixture
def clock() -> FixedClock:
    """A clock in integer microseconds that moves only by `clock.advance(...)`."""
    return FixedClock()


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """URL of a PostgreSQL superuser: `LACUNA_TEST_DATABASE_URL`, or a server of our own for this session.

    Tests make no tables here; they ask for `fresh_postgres_database`.
    """
    if DATABASE_SERVER:
        yield DATABASE_SERVER
        return
    server, url = start_postgres()
    try:
        yield url
    finally:
        server.stop()


@pytest.fixture
def new_postgres_database(postgres_url: str) -> Iterator[Callable[[], str]]:
    """A function that makes an empty PostgreSQL database and returns its URL; all are dropped after the test."""
    with ExitStack() as databases:
        yield lambda: databases.enter_context(temporary_database(postgres_url))


@pytest.fixture
def fresh_postgres_database(new_postgres_database: Callable[[], str]) -> str:
    """URL `postgresql+psycopg://...` of an empty database, dropped after the test."""
    return new_postgres_database()


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """SQLAlchemy URL of an empty database; the test runs once on SQLite (a file) and once on PostgreSQL."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    url: str = request.getfixturevalue("fresh_postgres_database")
    return url


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """URL of a Redis: `LACUNA_TEST_REDIS_URL`, or a Valkey of our own for this session.

    Tests share it, and it may be somebody's: give keys random names and never flush it.
    """
    if REDIS_SERVER:
        yield REDIS_SERVER
        return
    server, url = start_valkey()
    try:
        yield url
    finally:
        server.stop()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """A server that speaks S3, for this session. Tests share it: use `new_bucket`."""
    from support.s3 import start_s3  # boto3 takes a while to import

    server = start_s3()
    try:
        yield server
    finally:
        server.process.stop()


@pytest.fixture
def new_bucket(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Callable[[], str]:
    """A function that makes an empty bucket and returns its name; this process's clients find the server."""
    s3_server.visit(monkeypatch)

    def make() -> str:
        name = f"lacuna-test-{secrets.token_hex(8)}"
        client = s3_server.client()
        client.create_bucket(Bucket=name)
        client.close()
        return name

    return make


@pytest.fixture
def new_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NewWorld]:
    """A function that makes a small Lacuna in this process, on SQLite or the given database URL."""
    from support.world import make_world  # imports torch, which must not happen before OMP_NUM_THREADS is set

    worlds: list[World] = []

    def build(database_url: str | None = None, **options: int) -> World:
        folder = tmp_path_factory.mktemp("world")
        worlds.append(make_world(folder, database_url or f"sqlite:///{folder / 'ledger.sqlite'}", **options))
        return worlds[-1]

    yield build
    for world in worlds:
        world.ledger.close()
