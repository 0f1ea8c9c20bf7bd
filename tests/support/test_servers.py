"""The test servers are real, private, and end with the tests."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
import valkey
from sqlalchemy import create_engine, make_url, text

import support.postgres
from support.postgres import admin_connection, start_postgres, temporary_database
from support.processes import ServerStartError, server_folder, start_guarded
from support.waiting import wait_until


def test_a_fresh_database_is_empty_and_ours(database_url: str) -> None:
    engine = create_engine(database_url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE only_here (id INTEGER)"))  # fails if another test's database came back
        connection.execute(text("INSERT INTO only_here VALUES (1)"))
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM only_here")).scalar_one() == 1
    engine.dispose()


@pytest.mark.parametrize("time", [1, 2])
def test_nothing_stays_from_one_test_to_the_next(database_url: str, time: int) -> None:
    test_a_fresh_database_is_empty_and_ours(database_url)


def test_one_test_can_have_two_databases(new_postgres_database: Callable[[], str]) -> None:
    names = {make_url(new_postgres_database()).database for _ in range(2)}
    assert len(names) == 2


def test_a_dropped_database_is_gone_even_with_a_connection_open(postgres_url: str) -> None:
    with temporary_database(postgres_url) as url:
        left_open = admin_connection(url)
    with admin_connection(postgres_url) as connection:
        names = {name for (name,) in connection.execute("SELECT datname FROM pg_database")}
    assert make_url(url).database not in names
    with pytest.raises(psycopg.OperationalError):
        left_open.execute("SELECT 1")
    left_open.close()


@pytest.mark.skipif("LACUNA_TEST_DATABASE_URL" in os.environ, reason="only our own server is ours to judge")
def test_postgres_wants_the_password_and_listens_on_loopback_only(postgres_url: str) -> None:
    with admin_connection(postgres_url) as connection:
        addresses = connection.execute("SHOW listen_addresses").fetchone()
    assert addresses == ("127.0.0.1",)
    with pytest.raises(psycopg.OperationalError, match="password"):
        admin_connection(make_url(postgres_url).set(password="wrong").render_as_string(hide_password=False))


def test_redis_answers_and_keeps_values(redis_url: str) -> None:
    with valkey.Valkey.from_url(redis_url) as client:
        assert client.set("lacuna-test-key", b"value", ex=60)
        assert client.get("lacuna-test-key") == b"value"


def test_a_server_that_cannot_start_says_why_and_leaves_nothing() -> None:
    folder = server_folder("lacuna-broken-", None)
    script = "import sys; print('no such port'); sys.exit(3)"
    with pytest.raises(ServerStartError, match=r"(?s)status 3.*no such port"):
        start_guarded([sys.executable, "-c", script], folder, account=None, ready=lambda: False)
    assert not folder.exists()


def test_postgres_runs_from_a_copy_where_its_account_cannot_enter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(support.postgres, "_can_run", lambda program, account: False)  # like a venv below mode 700
    server, url = start_postgres()
    try:
        assert (server.folder / "wheel").is_dir()
        with admin_connection(url) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
    finally:
        server.stop()
    assert not server.folder.exists()


KILLED_TESTS = """
import signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell may have left it ignored
from support.{module} import start_{module}
server, url = start_{module}()
print(server.folder, url, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("module", ["postgres", "valkey"])
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=["SIGKILL", "SIGINT"])
def test_a_server_ends_with_killed_tests(module: str, how: signal.Signals) -> None:
    tests = subprocess.Popen(
        [sys.executable, "-c", KILLED_TESTS.format(module=module)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert tests.stdout is not None
    folder, url = tests.stdout.readline().split()
    port = urlsplit(url).port
    assert port is not None
    assert accepts_connections(port)
    os.killpg(tests.pid, how)  # like Ctrl-C in a terminal: the whole foreground group
    tests.wait(10)
    tests.stdout.close()
    # The guardian removes the folder last, after it has waited for the server's end.
    wait_until(lambda: not Path(folder).exists(), 15, "the guardian to clean up")
    assert not accepts_connections(port)


def accepts_connections(port: int) -> bool:
    """Whether somebody listens on this port of 127.0.0.1."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0
