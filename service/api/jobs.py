"""Jobs: what the workers do and have done."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from ledger import jobs, tables
from ledger.errors import NotFound, WrongState
from service.api.schemas import Items, JobId, Limit, rfc3339, when
from service.auth import ADMIN, Principal, needs
from service.context import context_of
from service.errors import documented

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

_READERS = ("data:write", "models:write", "forget:write", "audit:read")


class Job(BaseModel):
    """A piece of work and how far it is."""

    id: int
    kind: str = Field(examples=["ingest_upload"])
    state: str = Field(description="ready, running, done or failed.", examples=["done"])
    progress: float = Field(description="From 0 to 1.")
    note: str | None = Field(description="What it is doing, for people.")
    model: str | None
    upload: str | None
    result: dict[str, Any] | None
    error: str | None = Field(description="Why the last attempt failed.")
    attempts: int
    created_at: str
    finished_at: str | None


def shown(job: tables.Job) -> Job:
    """Return a job as it is answered."""
    return Job(
        id=job.id,
        kind=job.kind,
        state=job.state,
        progress=job.progress,
        note=job.note,
        model=job.model_id,
        upload=job.upload_id,
        result=job.result,
        error=job.error,
        attempts=job.attempts,
        created_at=when(job.created_at),
        finished_at=rfc3339(job.finished_at),
    )


@router.get("", summary="List the jobs", responses=documented())
def list_all(request: Request, principal: Annotated[Principal, needs(*_READERS)], limit: Limit = 100) -> Items[Job]:
    """The newest jobs of the tenant, newest first."""
    with context_of(request.scope).ledger.database.read() as tx:
        return Items(items=[shown(job) for job in jobs.list_newest(tx, principal.tenant_id, limit=limit)])


@router.get("/{job_id}", summary="Show a job", responses=documented(NotFound))
def show(job_id: JobId, request: Request, principal: Annotated[Principal, needs(*_READERS)]) -> Job:
    """One job. Ask again until its state is done or failed."""
    with context_of(request.scope).ledger.database.read() as tx:
        return shown(jobs.get(tx, principal.tenant_id, job_id))


@router.post("/{job_id}/retry", summary="Try a failed job again", responses=documented(NotFound, WrongState))
def retry(job_id: JobId, request: Request, principal: Annotated[Principal, needs(ADMIN)]) -> Job:
    """A job that failed for good starts over. Only for `admin`, and only while it is failed."""
    context = context_of(request.scope)
    with context.ledger.database.begin() as tx:
        job = shown(jobs.retry(tx, principal.tenant_id, job_id))
    context.on_accepted()
    return job
