"""Settings of a service process."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ledger.settings import LedgerSettings

_GIB = 2**30


class ServiceSettings(LedgerSettings):
    """Read from `LACUNA_*` variables, as `LedgerSettings`."""

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8321, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    statement_s: float = Field(30.0, ge=1, description="With PostgreSQL: how long a statement of a request may take.")
    drain_s: float = Field(
        0.0, ge=0, description="How long a server that was told to stop still answers, while /readyz says 503."
    )
    worker: bool = Field(True, description="Whether the embedded server runs a worker process of its own.")
    lease_ttl_ms: int = Field(
        1500, ge=50, description="How long a process may answer predictions without hearing from the database."
    )
    lease_poll_ms: int = Field(50, ge=1, description="How often a process looks for new model versions.")
    predict_threads: int = Field(2, ge=1, description="Predictions computed at the same time.")
    predict_together: Literal["tables", "all", "none"] = Field(
        "tables", description="Of which models queries that wait at the same moment are computed together."
    )
    key_fresh_ms: int = Field(
        1000,
        ge=0,
        le=60_000,
        description="How long predictions go on with a key that was recognised; 0: ask each time.",
    )
    torch_threads: int = Field(1, ge=1, description="Threads of torch within one prediction.")
    max_body_bytes: int = Field(16 * 2**20, ge=1024, description="Largest body of a request that is no upload.")
    slow_headers_s: float = Field(10.0, gt=0, description="How long a client may take to send a request's headers.")
    slow_body_s: float = Field(
        30.0, gt=0, description="How long a body may pause; one that is no upload may take four times as long in all."
    )
    max_upload_bytes: int = Field(2 * _GIB, ge=1024, le=4 * _GIB - 1, description="Largest archive of records.")
    max_core_bytes: int = Field(
        2**30, ge=1024, le=2 * _GIB - 1024, description="Largest file of weights that may be imported."
    )
    max_unpacked_bytes: int = Field(4 * _GIB, ge=1024, description="Largest size of an archive's unpacked arrays.")
    max_upload_records: int = Field(10_000_000, ge=1, description="Most records in one upload.")
    requests_per_minute: int = Field(
        60_000, ge=0, description="Most requests of one key that a process answers in a minute; 0: any number."
    )
    streams_per_key: int = Field(10, ge=1, description="Most event streams that one key may have open in a process.")
    max_subject_records: int | None = Field(
        None, ge=1, description="Most stored records of one subject, over all cohorts of a tenant; empty: any number."
    )
    max_models: int | None = Field(None, ge=0, description="Most models of a tenant; empty: any number.")
    max_open_requests: int | None = Field(
        None, ge=0, description="Most forget requests of a tenant that have not ended; empty: any number."
    )
    accept_together: int = Field(
        64,
        ge=1,
        le=1000,
        description="Most waiting forget requests that are accepted in one transaction; 1: each alone.",
    )
    log_level: str = Field("INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="Least severe logged message.")
    log_format: str = Field("json", pattern="^(json|console)$", description="json for programs, console for people.")
