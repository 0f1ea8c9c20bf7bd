"""Forget requests: accepted durably, done by a worker, proved by a certificate."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Annotated, Any, Literal

from annotated_types import Len
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from ledger import filing, receipts, requests, stuck, tables, tenants
from ledger.database import Transaction
from ledger.errors import (
    CoreNeverForgotten,
    InvalidIdentifier,
    NotFound,
    QuotaExceeded,
    SelectorInvalid,
    StoreFull,
    WrongState,
)
from ledger.selectors import MOST_NAMED, Selector, SubjectName
from service.api.paging import NEXT_PAGE, Paged
from service.api.preferences import Preferred
from service.api.schemas import Body, Id, Items, RequestId
from service.auth import Principal, needs
from service.context import Context, context_of
from service.errors import documented
from service.idempotency import REFUSALS, Once, Replay, Retryable
from service.moments import rfc3339, when
from service.refusals import CursorRefused, RequestStuck

router = APIRouter(prefix="/v1/forget-requests", tags=["forget requests"])

DAY_US = 86_400_000_000
ENDED = ("completed", "failed", "cancelled")
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.02, 0.5
_READERS = ("forget:write", "audit:read")
State = Literal["accepted", "scrubbing", "published", "purging", "completed", "failed", "cancelled"]
Most = Len(0, MOST_NAMED)


class Subject(Body):
    """One identifier of a person."""

    value: str = Field(description="The identifier, or a hash of it. Never stored, logged or answered.")
    type: str = Field("controller_customer_id", description="What it is: controller_customer_id, email, ...")
    format: str = Field("raw", description="raw, md5, sha1 or sha256: what `value` is.")


class NewRequest(Body):
    """What to forget. Exactly one of subjects, record_ids, labels and everything."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"subjects": [{"value": "customer-1047"}]},
                {"subjects": [{"value": "ada@example.org", "type": "email"}], "regulation": "ccpa"},
                {"record_ids": ["scan-0017", "scan-0018"]},
                {"labels": [3]},
                {"everything": True},
            ]
        }
    )
    subjects: Annotated[list[Subject], Most] = Field([], description="Everything of these people.")
    record_ids: Annotated[list[str], Most] = Field([], description="The records that were uploaded with these ids.")
    labels: Annotated[list[Annotated[int, Field(ge=0, lt=2**31)]], Most] = Field(
        [], description="Every record of these classes."
    )
    everything: bool = Field(False, description="Every record.")
    cohorts: Annotated[list[Id], Most] = Field([], description="Only in these user cohorts; empty: in all of them.")
    regulation: Literal["gdpr", "ccpa"] = Field("gdpr", description="What the deadline follows from.")


def selector_of(body: NewRequest) -> Selector:
    """Return what the body selects, as the ledger takes it."""
    return Selector(
        subjects=tuple(SubjectName(one.type, one.format, one.value) for one in body.subjects),
        record_ids=tuple(body.record_ids),
        labels=tuple(body.labels),
        everything=body.everything,
        cohort_ids=tuple(body.cohorts),
    )


class Covered(BaseModel):
    """A model that a request covers."""

    model: str
    version: int | None = Field(description="The first version that no longer knows the records.")


class ForgetRequest(BaseModel):
    """A forget request and how far it is. Whom it is about is not kept readable, so it is not here."""

    id: str
    state: State
    outcome: str | None = Field(
        description="Once it is completed: erased; partially_core, if equal content stays in a public core cohort; "
        "no_match; on_hold, if a legal hold kept all of it back."
    )
    selector: str = Field(
        description="By what it selects: subjects, records, labels or everything; correction: what that replaces."
    )
    records: int | None = Field(description="How many records it found; null until a worker has looked.")
    held: int | None = Field(description="How many records legal holds kept back.")
    in_core: int | None = Field(
        description="Until it is completed: how many of the records have content that a core cohort holds too."
    )
    follows: str | None = Field(description="The request that a hold had stopped and that this one takes up again.")
    followed_by: str | None = Field(description="The request that took this one up again when the hold was released.")
    regulation: str
    received_at: str
    due_at: str = Field(description="When the law wants the answer.")
    extended_at: str | None = Field(description="When the deadline was extended; `.../extension` says why.")
    days_left: int = Field(description="Whole days until then; negative when it is overdue.")
    published_at: str | None = Field(description="When the last model had a version without the records.")
    completed_at: str | None = Field(description="When nothing was left in any store.")
    models: list[Covered]
    certificate_url: str | None
    receipt_url: str | None = Field(
        description="What opens the certificate's commitment to whom it is about, as long as it can be fetched."
    )
    error: str | None


def shown(tx: Transaction, rows: list[tables.ForgetRequest]) -> list[ForgetRequest]:
    """Return requests as they are answered."""
    covered = requests.models_of(tx, [row.id for row in rows])
    opened_by = receipts.available(tx, [row.id for row in rows])
    return [
        ForgetRequest(
            id=row.id,
            state=row.state,
            outcome=row.outcome,
            selector=row.selector_kind,
            records=row.records,
            held=row.held,
            in_core=row.in_core,
            follows=row.follows,
            followed_by=row.followed_by,
            regulation=row.regulation,
            received_at=when(row.received_at),
            due_at=when(row.due_at),
            extended_at=rfc3339(row.extended_at),
            days_left=(row.due_at - tx.now) // DAY_US,
            published_at=rfc3339(row.published_at),
            completed_at=rfc3339(row.completed_at),
            models=[Covered(model=model, version=version) for model, version in covered[row.id]],
            certificate_url=certificate_url(row),
            receipt_url=f"/v1/forget-requests/{row.id}/receipt" if row.id in opened_by else None,
            error=row.error,
        )
        for row in rows
    ]


def certificate_url(row: tables.ForgetRequest) -> str | None:
    """Return where the request's certificate is, if it has one."""
    if row.state != "completed" or row.outcome in ("no_match", "on_hold"):
        return None
    return f"/v1/forget-requests/{row.id}/certificate"


_ENDED_IN_TIME: dict[int | str, dict[str, Any]] = {
    200: {"model": ForgetRequest, "description": "It has ended while the service waited, as preferred."}
}


@router.post(
    "",
    status_code=202,
    summary="Ask for records to be forgotten",
    responses=_ENDED_IN_TIME
    | documented(SelectorInvalid, InvalidIdentifier, NotFound, CoreNeverForgotten, StoreFull, *REFUSALS, QuotaExceeded),
)
async def create(
    body: NewRequest,
    request: Request,
    response: Response,
    principal: Annotated[Principal, needs("forget:write")],
    once: Retryable,
    preference: Preferred,
) -> ForgetRequest:
    """Once this answers 202, the request is stored durably and will be done, whatever crashes.

    It covers the records that are stored at this moment. Records that nobody has are no error: the request completes
    with the outcome `no_match`. Follow `Location` until the state is `completed`, or have the service wait for that
    with `Prefer`.
    """
    context = context_of(request.scope)
    if preference.applied is not None:
        response.headers["Preference-Applied"] = preference.applied
    try:
        answer = await _file(context, body, principal.tenant_id, once)
        request_id = answer.id
    except Replay as replay:
        if preference.wait_s is None:
            raise
        request_id = replay.answer.body["id"]
        answer = ForgetRequest.model_validate(replay.answer.body)
        response.headers.update(replay.answer.headers)
    if preference.wait_s is not None:
        ended = await _wait(context, principal.tenant_id, request_id, preference.wait_s)
        if ended is not None:
            response.status_code = 200
            return ended
    return answer


async def _file(context: Context, body: NewRequest, tenant_id: str, once: Once) -> ForgetRequest:
    """Accept the request durably, in one transaction with others that wait at this moment."""
    asked = filing.Asked(selector_of(body), body.regulation)
    if once.is_keyed:  # it may have to wait for another request with the same key, and the others must not
        return await run_in_threadpool(_file_once, context, asked, tenant_id, once)
    answer: ForgetRequest = await context.gathering.do(tenant_id, asked, partial(_file_all, context, tenant_id))
    once.headers(**_where(answer))
    return answer


def _file_all(context: Context, tenant_id: str, asked: list[filing.Asked]) -> list[ForgetRequest | Exception]:
    with context.ledger.database.begin() as tx:
        outcomes = _accept(tx, context, tenant_id, asked)
    if any(isinstance(one, ForgetRequest) for one in outcomes):
        context.on_accepted()
    return outcomes


def _file_once(context: Context, asked: filing.Asked, tenant_id: str, once: Once) -> ForgetRequest:
    with once.begin(context.ledger, tenant_id) as tx:
        (answer,) = _accept(tx, context, tenant_id, [asked])
        if isinstance(answer, Exception):
            raise answer
        once.answer(tx, answer, 202, **_where(answer))
    context.on_accepted()
    return answer


def _where(answer: ForgetRequest) -> dict[str, str]:
    return {"Location": f"/v1/forget-requests/{answer.id}", "Retry_After": "1"}


def _accept(
    tx: Transaction, context: Context, tenant_id: str, asked: list[filing.Asked]
) -> list[ForgetRequest | Exception]:
    """Accept requests as long as there is room; return the answer to each, in order."""
    hasher = tenants.alias_hasher(tx, context.ledger.ring, tenant_id)
    outcomes = filing.accept_all(tx, tenant_id, asked, hasher, most=context.settings.max_open_requests)
    receipts.issue_all(tx, context.ledger.ring, (one.selector for one in asked), outcomes)
    answers = iter(shown(tx, [row for row in outcomes if isinstance(row, tables.ForgetRequest)]))
    return [one if isinstance(one, Exception) else next(answers) for one in outcomes]


async def _wait(context: Context, tenant_id: str, request_id: str, wait_s: int) -> ForgetRequest | None:
    """Return the request once it has ended, None if it has not after `wait_s` seconds. Each look is a short one."""

    def look() -> ForgetRequest | None:
        with context.ledger.database.read() as tx:
            row = requests.get(tx, tenant_id, request_id)
            return shown(tx, [row])[0] if row.state in ENDED else None

    until, pause_s = time.monotonic() + wait_s, FIRST_PAUSE_S
    while (ended := await run_in_threadpool(look)) is None and (left_s := until - time.monotonic()) > 0:
        await asyncio.sleep(min(pause_s, left_s))
        pause_s = min(1.5 * pause_s, LONGEST_PAUSE_S)
    return ended


@router.get("", summary="List the forget requests", responses=NEXT_PAGE | documented(CursorRefused))
def list_all(
    request: Request,
    principal: Annotated[Principal, needs(*_READERS)],
    page: Paged,
    state: Annotated[State | None, Query(description="Only those in this state.")] = None,
) -> Items[ForgetRequest]:
    """The requests of the tenant, newest first."""
    after = page.after(int, str)
    with context_of(request.scope).ledger.database.read() as tx:
        rows = requests.list_newest(tx, principal.tenant_id, state=state, limit=page.limit, after=after)
        rows = page.cut(rows, lambda row: (row.received_at, row.id), state=state)
        return Items(items=shown(tx, list(rows)))


@router.get("/{request_id}", summary="Show a forget request", responses=documented(NotFound, RequestStuck))
def show(
    request_id: RequestId,
    request: Request,
    principal: Annotated[Principal, needs(*_READERS)],
    fail_as_error: Annotated[
        bool, Query(description="Answer 409 if it was withdrawn, or if a job that serves it has failed.")
    ] = False,
) -> ForgetRequest:
    """One request. It is done when its state is `completed`."""
    with context_of(request.scope).ledger.database.read() as tx:
        row = requests.get(tx, principal.tenant_id, request_id)
        if fail_as_error and row.state in ("failed", "cancelled"):
            raise RequestStuck(row.state)
        if fail_as_error and stuck.is_stuck(tx, row):
            raise RequestStuck("stuck")
        return shown(tx, [row])[0]


@router.delete("/{request_id}", summary="Withdraw a forget request", responses=documented(NotFound, WrongState))
def cancel(
    request_id: RequestId, request: Request, principal: Annotated[Principal, needs("forget:write")]
) -> ForgetRequest:
    """Possible only while it is `accepted`: what has been forgotten cannot be brought back."""
    with context_of(request.scope).ledger.database.begin() as tx:
        return shown(tx, [requests.cancel(tx, principal.tenant_id, request_id)])[0]
