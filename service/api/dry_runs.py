"""Dry runs: what a forget request would do, before anybody files it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from ledger import dry_runs, tenants
from ledger.errors import CoreNeverForgotten, InvalidIdentifier, NotFound, SelectorInvalid, StoreFull
from service.api.forget_requests import NewRequest, selector_of
from service.auth import Principal, needs
from service.context import context_of
from service.errors import documented
from service.idempotency import REFUSALS, Retryable

router = APIRouter(prefix="/v1/forget-requests", tags=["forget requests"])

READERS = ("forget:write", "audit:read")


class ModelOutlook(BaseModel):
    """What the request would do to one model. Nulls: there is no evaluation cohort to measure on."""

    model: str
    version: int = Field(description="The active version, with which the others are compared.")
    records: int = Field(description="How many of the records this version knows.")
    evaluated: int = Field(description="Records of the evaluation cohort.")
    accuracy_before: float | None
    accuracy_after: float | None
    largest_change: float | None = Field(description="Of a predicted probability, over records and classes.")
    mean_change: float | None = Field(description="The mean absolute change of predicted probabilities.")
    labels_flipped: int | None = Field(description="Evaluation records that would get another label.")
    exposure: float | None = Field(
        description="How much the active version tells somebody who knows all other records about the one of these "
        "that it exposes most, in nats; null: infinite, as without noise, or no record. `exposure_note` says what it "
        "means."
    )
    exposure_note: str
    seconds: float = Field(description="What subtracting and solving took.")
    problem: str | None = Field(description="Why the new weights would be refused.")


class Outlook(BaseModel):
    """The `result` of a dry run's job, for an hour."""

    outcome: str = Field(description="erased, partially_core, no_match or on_hold, as of a completed request.")
    records: int
    held: int = Field(description="How many more a legal hold would keep back.")
    in_core: int = Field(description="How many of the records have content that a core cohort holds too.")
    due_at: str = Field(description="The deadline, if the request had been filed when this was asked.")
    models: list[ModelOutlook]


class DryRunStarted(BaseModel):
    """The job that looks. Its `result` will be an `Outlook`."""

    job: int


@router.post(
    "/dry-run",
    status_code=202,
    summary="See what a forget request would do",
    responses=documented(SelectorInvalid, InvalidIdentifier, NotFound, CoreNeverForgotten, StoreFull, *REFUSALS),
)
def dry_run(
    body: NewRequest,
    request: Request,
    principal: Annotated[Principal, needs(*READERS)],
    once: Retryable,
) -> DryRunStarted:
    """Nothing is forgotten, marked, suppressed or told to anybody. Follow `Location` until the job's state is `done`.

    Every model is measured with and without the records, so the real request gives the same accuracy if nothing else
    happens before it. The answer is shown only to keys with `forget:write` or `audit:read`. It is deleted after an
    hour, and at once when records are forgotten: it was measured on versions that knew them. A dry run that is still
    waiting when somebody whom it names is forgotten ends as `failed`. Corrections that are still on their way are not
    counted.
    """
    context = context_of(request.scope)
    with once.begin(context.ledger, principal.tenant_id) as tx:
        hasher = tenants.alias_hasher(tx, context.ledger.ring, principal.tenant_id)
        job = dry_runs.ask(tx, principal.tenant_id, selector_of(body), hasher, regulation=body.regulation)
        started = DryRunStarted(job=job.id)
        once.answer(tx, started, 202, Location=f"/v1/jobs/{job.id}", Retry_After="1")
    context.on_accepted()
    return started
