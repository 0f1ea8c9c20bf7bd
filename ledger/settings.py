"""Settings that every process of an installation shares: where things are stored."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from ledger.errors import SettingUnusable
from ledger.webhooks.targets import Rules, rules

DATABASES = ("postgresql", "postgresql+psycopg", "sqlite", "sqlite+pysqlite")
"""Kinds of addresses of databases: other drivers do not know the settings that ours gets."""


class LedgerSettings(BaseSettings):
    """Read from `LACUNA_*` variables, or from the file that `LACUNA_SETTINGS` names (KEY=value lines)."""

    model_config = SettingsConfigDict(env_prefix="LACUNA_", extra="ignore")

    data_dir: Path = Field(Path("lacuna-data"), description="Directory of the database, the objects and the keys.")
    database_url: str | None = Field(None, description="PostgreSQL address; without it SQLite in the data directory.")
    database_url_file: Path | None = Field(None, description="File that holds the database address (a secret).")
    statement_s: float = Field(60.0, ge=1, description="With PostgreSQL: how long a statement may take, in seconds.")
    redis_url: str | None = Field(None, description="Redis address; with it Celery workers do the jobs.")
    redis_url_file: Path | None = Field(None, description="File that holds the Redis address (a secret).")
    gpu_jobs: str = Field(
        "", description="Kinds of jobs for workers of the queue gpu, separated by commas: train_core, ingest_model, ..."
    )
    job_limit_s: int = Field(6 * 3600, ge=10, description="With Celery: a job's process is killed after so long.")
    key_dir: Path | None = Field(None, description="Directory of the keys; without it `keys` in the data directory.")
    objects_url: str | None = Field(
        None, description="Where objects lie: file:///folder or s3://bucket/prefix; without it `objects` in data_dir."
    )
    shard_records: int = Field(64, ge=1, le=4096, description="Records that share one encrypted object.")
    backup_days: int = Field(30, ge=0, description="Days until the oldest backup of the data directory is destroyed.")
    clock_skew_ms: int = Field(0, ge=0, description="How far the machines' clocks may stand apart.")

    webhook_allow: str = Field(
        "", description="Internal networks that webhooks may go to, as 10.1.0.0/16, separated by commas; else none."
    )
    webhook_http: bool = Field(False, description="Whether webhooks may also go to http://, without TLS.")
    webhook_ports: str = Field("", description="Ports that webhooks may go to, separated by commas; empty: any.")

    architectures: str = Field(
        "", description="Networks beside Lacuna's own: name=package.module:factory, separated by commas."
    )

    @model_validator(mode="after")
    def _webhook_rules_can_be_read(self) -> LedgerSettings:
        self.webhook_rules()
        return self

    def webhook_rules(self) -> Rules:
        """Return which addresses may be told of events. Raises ValueError."""
        return rules(allow=self.webhook_allow, http=self.webhook_http, ports=self.webhook_ports)

    @property
    def is_embedded(self) -> bool:
        """Whether the database is SQLite in the data directory, for one server alone."""
        return make_url(self.resolved_database_url()).get_backend_name() == "sqlite"

    def resolved_database_url(self) -> str:
        """Return the database address: the file's, the setting's, or SQLite in the data directory.

        Raises SettingUnusable: the file cannot be read, or it is no address of a database that Lacuna knows.
        """
        if self.database_url_file is not None:
            setting = "LACUNA_DATABASE_URL_FILE"
            return _database_url(setting, _secret(setting, self.database_url_file))
        if self.database_url:
            return _database_url("LACUNA_DATABASE_URL", self.database_url)
        return f"sqlite:///{Path(self.data_dir).resolve() / 'ledger.db'}"

    def resolved_redis_url(self) -> str | None:
        """Return the address of Redis: the file's or the setting's. None: workers look by themselves.

        Raises SettingUnusable: the file cannot be read, or it is no address of a Redis.
        """
        if self.redis_url_file is not None:
            setting = "LACUNA_REDIS_URL_FILE"
            return _redis_url(setting, _secret(setting, self.redis_url_file))
        return _redis_url("LACUNA_REDIS_URL", self.redis_url) if self.redis_url else None


def _secret(setting: str, file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError as problem:
        raise SettingUnusable(setting, f"the file cannot be read ({problem.strerror})") from problem
    except UnicodeDecodeError:
        raise SettingUnusable(setting, "the file holds no text") from None


# Nothing of an address is repeated: what cannot be taken apart may hold its password anywhere.
def _database_url(setting: str, url: str) -> str:
    try:
        parts = make_url(url)
    except (ArgumentError, ValueError):
        parts = None
    if parts is None or parts.drivername not in DATABASES:
        raise SettingUnusable(setting, "it holds no address like postgresql+psycopg://user:password@host/database")
    if "@" in (parts.host or ""):
        raise SettingUnusable(setting, "its password holds an @, which an address spells %40")
    return url


def _redis_url(setting: str, url: str) -> str:
    if not url.startswith(("redis://", "rediss://")):  # Celery would take anything else for another kind of broker
        raise SettingUnusable(setting, "it holds no address like redis://:password@host:6379/0")
    return url
