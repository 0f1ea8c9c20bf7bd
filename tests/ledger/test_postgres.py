"""A PostgreSQL that accepts connections and bytes and answers nothing: callers are told, and nobody waits for ever."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, make_url, text
from sqlalchemy.exc import DBAPIError
from support.proxy import Proxy
from support.waiting import wait_until

from ledger.postgres import open_postgres

SILENT = "did not answer"


@pytest.fixture
def proxy(fresh_postgres_database: str) -> Iterator[Proxy]:
    port = make_url(fresh_postgres_database).port
    assert port is not None
    made = Proxy(port)
    yield made
    made.speak()
    made.take_away()


@pytest.fixture
def engine(fresh_postgres_database: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    monkeypatch.setattr("ledger.postgres.ASK_S", 0.3)
    monkeypatch.setattr("ledger.postgres.CONNECT_S", 2)  # libpq knows no less
    url = make_url(fresh_postgres_database).set(port=proxy.port).render_as_string(hide_password=False)
    made = open_postgres(url, statement_s=1)
    yield made
    made.dispose()


def answers(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(text("SELECT 1")).scalar_one())


def test_a_statement_is_given_up_when_the_server_falls_silent(engine: Engine, proxy: Proxy) -> None:
    with engine.connect() as connection:
        assert connection.execute(text("SELECT 1")).scalar_one() == 1
        proxy.fall_silent()
        with pytest.raises(DBAPIError, match=SILENT) as raised:
            connection.execute(text("SELECT 2"))
    assert raised.value.connection_invalidated, "its answer could come in the middle of another one"
    proxy.speak()
    wait_until(lambda: _answers_now(engine), 10, "the server to be tried again")


def _answers_now(engine: Engine) -> bool:
    try:
        return answers(engine) == 1
    except DBAPIError:
        return False


def test_an_idle_connection_is_asked_before_it_is_used(engine: Engine, proxy: Proxy) -> None:
    """And while the server is silent one thread tries it; the others are told at once, and make no connection."""
    assert answers(engine) == 1
    proxy.fall_silent()
    with pytest.raises(DBAPIError, match=SILENT):
        answers(engine)
    before = proxy.accepted
    refused: list[str] = []

    def ask() -> None:
        try:
            answers(engine)
        except DBAPIError as problem:
            refused.append(str(problem.orig))

    threads = [threading.Thread(target=ask) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 20
    assert proxy.accepted - before <= 3, "a slow machine may give another one its turn"
    proxy.speak()
    wait_until(lambda: _answers_now(engine), 10, "the server to be tried again")


def test_a_new_connection_to_a_silent_server_is_given_up(engine: Engine, proxy: Proxy) -> None:
    proxy.fall_silent()
    with pytest.raises(DBAPIError, match="timeout expired"):
        answers(engine)
    with pytest.raises(DBAPIError, match="a moment ago"):
        answers(engine)


def test_connections_that_were_cut_are_replaced_without_anybody_noticing(engine: Engine, proxy: Proxy) -> None:
    with engine.connect(), engine.connect():
        pass
    proxy.take_away()
    proxy.give_back()
    assert [answers(engine) for _ in range(3)] == [1, 1, 1]


def test_who_is_refused_may_try_again_at_once(fresh_postgres_database: str) -> None:
    """A server that is down says so at once, so nobody is kept from asking it."""
    port = make_url(fresh_postgres_database).port
    assert port is not None
    gone = Proxy(port)
    gone.take_away()
    url = make_url(fresh_postgres_database).set(port=gone.port).render_as_string(hide_password=False)
    engine = open_postgres(url, statement_s=1)
    for _ in range(3):
        with pytest.raises(DBAPIError, match="refused"):
            answers(engine)
    gone.give_back()
    assert answers(engine) == 1
    engine.dispose()
    gone.take_away()


def test_the_server_ends_statements_and_waits_too(engine: Engine, fresh_postgres_database: str) -> None:
    with engine.connect() as connection:
        with pytest.raises(DBAPIError, match="statement timeout"):
            connection.execute(text("SELECT pg_sleep(30)"))
        connection.rollback()
        shown = [connection.execute(text(f"SHOW {name}")).scalar_one() for name in ("lock_timeout", "TimeZone")]
    assert shown == ["500ms", "UTC"]
