"""What an admin changes from the dashboard: the same as through the API, and written down as theirs.

`guard` has refused everybody else before one of these is called.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import Form, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from ledger import catalog, filing, jobs, receipts, requests, sessions, tenants
from ledger.database import Transaction
from ledger.errors import InvalidIdentifier, LedgerError, QuotaExceeded, SelectorInvalid
from ledger.identity import FORMATS
from ledger.selectors import Selector, SubjectName
from service.api.schemas import ID_PATTERN, JobId, RequestId
from service.auth import Principal
from service.context import context_of
from service.dashboard.forms import onwards
from service.dashboard.pages import Visitor, page_router, render

UNCONFIRMED = "That is every record. Say that you mean it by ticking the box."
NO_COHORT = "No cohort is ticked, so the request would select nothing."
NO_NUMBERS = "Classes are whole numbers from 0, with commas or spaces between them."

router = page_router()
Text = Annotated[str, Form()]


def noted(request: Request, principal: Principal, what: str, do: Callable[[Transaction], str]) -> str:
    """Make a change and the event about who made it, in one transaction; `do` returns the id of what was changed.

    Raises what `do` does.
    """
    context = context_of(request.scope)
    who = principal.signed_in
    assert who is not None  # `guard` has seen to that
    with context.ledger.database.begin() as tx:
        changed = do(tx)
        sessions.acted(tx, who, what, changed)
    context.on_accepted()
    return changed


@router.get("/forget")
def forget_form(request: Request, principal: Visitor) -> HTMLResponse:
    """The form that asks for something to be forgotten."""
    return _forget_form(request, principal)


@router.post("/forget")
def forget(
    request: Request,
    principal: Visitor,
    by: Text = "",
    subject: Text = "",
    subject_type: Text = "",
    subject_format: Text = "raw",
    records: Text = "",
    classes: Text = "",
    cohorts: Annotated[list[Annotated[str, Form(pattern=ID_PATTERN)]], Form()] = [],  # noqa: B006 (FastAPI copies it)
    regulation: Text = "gdpr",
    sure: Text = "",
) -> Response:
    """File a forget request. What was typed is not shown again: it may name somebody."""
    context = context_of(request.scope)
    everything = by in ("cohorts", "everything")
    if everything and not sure:
        return _forget_form(request, principal, UNCONFIRMED)
    if by == "cohorts" and not cohorts:
        return _forget_form(request, principal, NO_COHORT)
    numbers = classes.replace(",", " ").split() if by == "classes" else []
    if not all(number.isascii() and number.isdigit() and len(number) < 10 for number in numbers):
        return _forget_form(request, principal, NO_NUMBERS)
    selector = Selector(
        subjects=(SubjectName(subject_type, subject_format, subject),) if by == "subject" and subject else (),
        record_ids=tuple(line.strip() for line in records.splitlines() if line.strip()) if by == "records" else (),
        labels=tuple(int(number) for number in numbers),
        everything=everything,
        cohort_ids=tuple(cohorts),
    )
    asked = filing.Asked(selector, "ccpa" if regulation == "ccpa" else "gdpr")

    def file(tx: Transaction) -> str:
        hasher = tenants.alias_hasher(tx, context.ledger.ring, principal.tenant_id)
        most = context.settings.max_open_requests
        (outcome,) = filing.accept_all(tx, principal.tenant_id, [asked], hasher, most=most)
        if isinstance(outcome, LedgerError):
            raise outcome
        receipts.issue(tx, context.ledger.ring, outcome, selector)
        return outcome.id

    try:
        request_id = noted(request, principal, "request.filed", file)
    except (SelectorInvalid, InvalidIdentifier, QuotaExceeded) as problem:
        return _forget_form(request, principal, str(problem))
    return RedirectResponse(f"/dashboard/requests/{request_id}", 303)


def _forget_form(request: Request, principal: Principal, error: str | None = None) -> HTMLResponse:
    with context_of(request.scope).ledger.database.read() as tx:
        return render(
            request,
            "forget.html",
            principal,
            status=200 if error is None else 422,
            now=tx.now,
            error=error,
            formats=FORMATS,
            cohorts=[one for one in catalog.list_cohorts(tx, principal.tenant_id) if one.kind == "user"],
        )


@router.post("/requests/{request_id}/cancel")
def cancel(request_id: RequestId, request: Request, principal: Visitor) -> Response:
    """Withdraw a request that nothing has been done about. Raises NotFound, WrongState."""
    noted(request, principal, "request.cancelled", lambda tx: requests.cancel(tx, principal.tenant_id, request_id).id)
    return RedirectResponse(f"/dashboard/requests/{request_id}", 303)


@router.post("/jobs/{job_id}/retry")
def retry(job_id: JobId, request: Request, principal: Visitor, next: Text = "") -> Response:
    """Let a failed job start over. Raises NotFound, WrongState, ModelRetired."""
    noted(request, principal, "job.retried", lambda tx: str(jobs.retry(tx, principal.tenant_id, job_id).id))
    return RedirectResponse(onwards(next), 303)
