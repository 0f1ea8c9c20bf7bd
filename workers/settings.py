"""Settings of a worker process."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from ledger.settings import LedgerSettings


class WorkerSettings(LedgerSettings):
    """Read from `LACUNA_*` variables, as `LedgerSettings`."""

    threads: int = Field(2, ge=1, description="Threads of torch. Equal numbers give equal bits.")
    job_lease_ms: int = Field(30_000, ge=100, description="How long a dead worker's job waits for another worker.")
    poll_ms: int = Field(200, ge=1, description="How often to look for jobs when nobody nudges.")
    slice_ms: int = Field(1_000, ge=1, description="How long bulk work goes on before it lets urgent jobs through.")
    stop_s: float = Field(50.0, gt=0, description="With Celery: how long SIGQUIT lets the job in hand go on.")
    look_ms: int = Field(1_000, ge=10, description="How often the reconciler looks for untold jobs.")
    again_ms: int = Field(5_000, ge=10, description="When the reconciler repeats a message that nobody acted on.")
    sweep_s: float = Field(60.0, gt=0, description="How often the reconciler takes back what crashed processes left.")
    alive_file: Path | None = Field(None, description="With Celery: a file that is touched while the process listens.")
    log_level: str = Field("INFO", description="DEBUG, INFO, WARNING or ERROR.")
