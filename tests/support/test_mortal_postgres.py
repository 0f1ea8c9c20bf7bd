"""What was committed outlives every death of the test server, and a frozen one answers nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import psycopg
import pytest

from support.mortal_postgres import MortalPostgres
from support.postgres import admin_connection
from support.waiting import wait_until


@pytest.fixture(scope="module")
def server() -> Iterator[MortalPostgres]:
    made = MortalPostgres()
    yield made
    made.stop()


def count(server: MortalPostgres) -> int:
    with admin_connection(server.url) as connection:
        (found,) = connection.execute("SELECT count(*) FROM kept").fetchone() or (None,)
    return int(found or 0)


def test_what_was_committed_is_there_after_every_kind_of_end(server: MortalPostgres) -> None:
    with admin_connection(server.url) as connection:
        connection.execute("CREATE TABLE kept (n int)")
    for number, end in enumerate((server.kill, server.stop_at_once, server.stop_fast)):
        with admin_connection(server.url) as connection:
            connection.execute("INSERT INTO kept VALUES (1)")
        end()
        with pytest.raises(psycopg.OperationalError):
            count(server)
        server.start()
        assert count(server) == number + 1


def test_a_killed_client_process_cuts_all_connections(server: MortalPostgres) -> None:
    with admin_connection(server.url) as connection:
        server.kill_backend()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    assert count(server) > 0


def test_a_frozen_server_answers_when_it_goes_on(server: MortalPostgres) -> None:
    with admin_connection(server.url) as connection:
        freezing = threading.Thread(target=server.freeze, args=(0.5,))
        freezing.start()
        wait_until(lambda: server.frozen, 10, "it to be frozen")
        connection.execute("SELECT 1")
        assert not server.frozen
        freezing.join()
