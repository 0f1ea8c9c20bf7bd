"""Jobs: what the workers do and have done."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from ledger import dry_runs, jobs, tables
from ledger.database import Transaction
from ledger.errors import NotFound, WrongState
from service.api.dry_runs import READERS as DRY_RUN_READERS
from service.api.dry_runs import Outlook
from service.api.paging import NEXT_PAGE, Paged
from service.api.schemas import Items, JobId
from service.auth import ADMIN, Principal, needs
from service.context import context_of
from service.errors import documented
from service.moments import rfc3339, when
from service.refusals import CursorRefused

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

State = Literal["ready", "running", "done", "failed"]
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
    result: Outlook | dict[str, Any] | None = Field(
        description="What came out. Of a dry run: for an hour, only for keys with `forget:write` or `audit:read`, and "
        "gone as soon as any record is forgotten."
    )
    error: str | None = Field(description="Why the last attempt failed.")
    attempts: int
    created_at: str
    finished_at: str | None


def shown(tx: Transaction, rows: Sequence[tables.Job], principal: Principal) -> list[Job]:
    """Return jobs as they are answered to this key."""
    asked = [row.id for row in rows if row.kind == jobs.DRY_RUN]
    may_see = principal.scopes & {ADMIN, *DRY_RUN_READERS}
    answers = dry_runs.results(tx, asked) if asked and may_see else {}
    return [_shown(row, answers.get(row.id, row.result)) for row in rows]


def _shown(job: tables.Job, result: dict[str, Any] | None) -> Job:
    return Job(
        id=job.id,
        kind=job.kind,
        state=job.state,
        progress=job.progress,
        note=job.note,
        model=job.model_id,
        upload=job.upload_id,
        result=result,
        error=job.error,
        attempts=job.attempts,
        created_at=when(job.created_at),
        finished_at=rfc3339(job.finished_at),
    )


@router.get("", summary="List the jobs", responses=NEXT_PAGE | documented(CursorRefused))
def list_all(
    request: Request,
    principal: Annotated[Principal, needs(*_READERS)],
    page: Paged,
    state: Annotated[State | None, Query(description="Only jobs in this state; `failed`: given up.")] = None,
) -> Items[Job]:
    """The jobs of the tenant, newest first."""
    with context_of(request.scope).ledger.database.read() as tx:
        found = jobs.list_newest(tx, principal.tenant_id, state=state, limit=page.limit, after=page.after(int))
        return Items(items=shown(tx, page.cut(found, lambda job: (job.id,), state=state), principal))


@router.get("/{job_id}", summary="Show a job", responses=documented(NotFound))
def show(job_id: JobId, request: Request, principal: Annotated[Principal, needs(*_READERS)]) -> Job:
    """One job. Ask again until its state is done or failed."""
    with context_of(request.scope).ledger.database.read() as tx:
        return shown(tx, [jobs.get(tx, principal.tenant_id, job_id)], principal)[0]


@router.post("/{job_id}/retry", summary="Try a failed job again", responses=documented(NotFound, WrongState))
def retry(job_id: JobId, request: Request, principal: Annotated[Principal, needs(ADMIN)]) -> Job:
    """A job that failed for good starts over. Only for `admin`, and only while it is failed."""
    context = context_of(request.scope)
    with context.ledger.database.begin() as tx:
        job = shown(tx, [jobs.retry(tx, principal.tenant_id, job_id)], principal)[0]
    context.on_accepted()
    return job
