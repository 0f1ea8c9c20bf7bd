"""A database that cannot be used, or a setting that names none, ends a command with one sentence, never a traceback."""

from __future__ import annotations

import io
import logging
import os
import secrets
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import structlog
from sqlalchemy import make_url
from sqlalchemy.exc import IntegrityError, OperationalError
from support.command_line import Lacuna
from support.ports import free_port
from support.postgres import admin_connection, start_postgres
from support.waiting import wait_until

from ledger import uploads
from ledger.database import refusal
from service.commands import server
from service.doctor.examine import examine
from service.first_start import utc_microseconds
from service.logs import configure_logging
from service.settings import ServiceSettings

WAIT_S = 20
BESIDE = ("db check", "db upgrade", "people list", "reconcile", "worker", "server --no-worker --port 0")


@pytest.fixture(autouse=True)
def signals_stay() -> Iterator[None]:
    """Commands that run for long take signals over; here they run in this process."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def one_sentence(lacuna: Lacuna, command: str) -> str:
    """Run a command that cannot work; return what it says."""
    said = lacuna(*command.split())
    lines = [line for line in said.err.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1, said.err
    assert "Traceback" not in said.err + said.out
    return f"{said.status} {lines[0]}"


@pytest.mark.parametrize("command", BESIDE)
def test_no_server_at_the_address(lacuna: Lacuna, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    secret = secrets.token_hex(8)
    monkeypatch.setenv("LACUNA_DATABASE_URL", f"postgresql+psycopg://lacuna:{secret}@127.0.0.1:{free_port()}/lacuna")
    said = one_sentence(lacuna, command)
    assert said.startswith("5 Error: The database cannot be used: ")
    assert "Connection refused" in said
    assert "LACUNA_DATABASE_URL" in said
    assert secret not in said


def test_a_wrong_password_a_wrong_name_and_a_user_who_may_not(
    lacuna: Lacuna, monkeypatch: pytest.MonkeyPatch, fresh_postgres_database: str, tmp_path: Path
) -> None:
    right, wrong = make_url(fresh_postgres_database), secrets.token_hex(8)
    monkeypatch.setenv("LACUNA_DATABASE_URL", fresh_postgres_database)
    assert lacuna("db", "upgrade").status == 0
    found = {}
    for name, changed in (("password", right.set(password=wrong)), ("database", right.set(database="no_such_one"))):
        monkeypatch.setenv("LACUNA_DATABASE_URL", changed.render_as_string(hide_password=False))
        found[name] = one_sentence(lacuna, "server --no-worker --port 0")
        assert wrong not in found[name]
        doctors = examine(ServiceSettings(data_dir=tmp_path), clock=utc_microseconds, random=os.urandom)[0]
        assert doctors.what.removeprefix("it cannot be used: ") in found[name], "the doctor says why, too"
    assert "password authentication failed" in found["password"]
    assert 'database "no_such_one" does not exist' in found["database"]
    login = f"lacuna_test_{secrets.token_hex(4)}"
    with admin_connection(fresh_postgres_database) as admin:
        admin.execute(f"CREATE ROLE {login} LOGIN PASSWORD '{wrong}'")
        try:
            changed = right.set(username=login, password=wrong)
            monkeypatch.setenv("LACUNA_DATABASE_URL", changed.render_as_string(hide_password=False))
            for command in ("db downgrade 0017", "people list"):
                said = one_sentence(lacuna, command)
                assert "permission denied" in said
                assert "Roles" in said
        finally:
            admin.execute(f"DROP ROLE {login}")


def test_a_server_that_starts_while_postgresql_shuts_down(lacuna: Lacuna, monkeypatch: pytest.MonkeyPatch) -> None:
    postgres, url = start_postgres()
    try:
        with admin_connection(url):  # a shutdown that waits for its clients
            os.kill(int((postgres.folder / "data" / "postmaster.pid").read_text().split()[0]), signal.SIGTERM)
            wait_until(lambda: refuses(url), WAIT_S, "PostgreSQL to let nobody in")
            monkeypatch.setenv("LACUNA_DATABASE_URL", url)
            said = one_sentence(lacuna, "server --no-worker --port 0")
        assert "the database system is shutting down" in said
    finally:
        postgres.stop()


def refuses(url: str) -> bool:
    try:
        admin_connection(url).close()
    except psycopg.OperationalError:
        return True
    return False


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What a server writes to its log."""
    before, root = structlog.get_config(), logging.getLogger()
    handlers, level = root.handlers, root.level
    written = io.StringIO()
    monkeypatch.setattr(server, "configure_logging", lambda *how: configure_logging(*how, written))
    yield written
    structlog.configure(**before)
    root.handlers, root.level = handlers, level


def test_a_database_that_goes_while_the_application_starts(
    lacuna: Lacuna, monkeypatch: pytest.MonkeyPatch, logged: io.StringIO
) -> None:
    """The command has asked it already; then uvicorn starts the application, which asks again."""
    secret = secrets.token_hex(8)

    def gone(*_: Any, **__: Any) -> int:
        raise OperationalError("SELECT", {"name": secret}, psycopg.OperationalError("it went away"))

    monkeypatch.setattr(uploads, "abandon_expired", gone)
    said = lacuna("server", "--no-worker", "--port", "0")
    assert said.status == 5
    assert said.err.startswith("Error: The database cannot be used: it went away.")
    assert "Application startup failed" in logged.getvalue()
    assert "abandon_expired" in logged.getvalue() or "in gone" in logged.getvalue(), "where it happened"
    assert secret not in said.err + logged.getvalue(), "values of statements are not written"


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("DATABASE_URL", "postgres//lacuna:topsecret@host", "holds no address"),
        ("DATABASE_URL", "mysql://lacuna:topsecret@host/x", "holds no address"),
        ("DATABASE_URL", "postgresql://lacuna:topsecret@host:topsecret/x", "holds no address"),
        ("DATABASE_URL", "postgresql://lacuna:top@secret@host/x", "%40"),
        ("DATABASE_URL_FILE", "", "holds no address"),
        ("DATABASE_URL_FILE", None, "cannot be read"),
        ("REDIS_URL", "rediss//:topsecret@host", "holds no address"),
        ("REDIS_URL_FILE", "amqp://:topsecret@host", "holds no address"),
        ("REDIS_URL_FILE", None, "cannot be read"),
    ],
)
def test_a_setting_that_names_nothing_of_the_kind(
    lacuna: Lacuna,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    name: str,
    content: str | None,
    why: str,
) -> None:
    setting = f"LACUNA_{name}"
    if name.endswith("_FILE"):
        if content is not None:
            (tmp_path / "secret").write_text(content)
        content = str(tmp_path / "secret")
    monkeypatch.setenv(setting, content or "")
    said = one_sentence(lacuna, "reconcile")
    assert said == one_sentence(lacuna, "worker") == one_sentence(lacuna, "server --no-worker --port 0")
    assert said.startswith(f"2 Error: The setting {setting} cannot be used: ")
    assert why in said
    assert "secret" not in said.replace(str(tmp_path), "")
    assert not (tmp_path / "lacuna-data").exists(), "no other database either"
    assert lacuna("doctor").status == 1
    (found,) = examine(ServiceSettings(), clock=utc_microseconds, random=os.urandom)
    assert (found.check, setting in found.what, setting in found.advice) == ("settings", True, True)


def test_a_settings_file_that_is_not_there(lacuna: Lacuna, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without it the same command would silently make another installation, on SQLite."""
    monkeypatch.setenv("LACUNA_SETTINGS", str(tmp_path / "none"))
    assert "LACUNA_SETTINGS" in one_sentence(lacuna, "db upgrade")
    assert not (tmp_path / "lacuna-data").exists()


def test_what_is_no_matter_of_reaching_the_database_stays_an_error() -> None:
    assert refusal(IntegrityError("INSERT", {}, psycopg.errors.UniqueViolation("x"))) is None
    assert refusal(OperationalError("SELECT", {}, psycopg.OperationalError("a  b\nDETAIL: c"))) == "a b"
