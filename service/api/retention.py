"""Retention periods: records that are stored for longer are forgotten by themselves."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from ledger import retention
from ledger.errors import CoreNeverForgotten, NotFound
from service.api.schemas import Body, CohortId
from service.auth import Principal, needs
from service.context import context_of
from service.errors import documented

router = APIRouter(prefix="/v1/cohorts", tags=["cohorts"])

LONGEST_DAYS = 36_500


class NewRetention(Body):
    """How long records of the cohort are kept."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"days": 365}]})
    days: Annotated[int, Field(ge=1, le=LONGEST_DAYS)] | None = Field(
        description="Days after which a stored record is forgotten; null: records stay until somebody asks."
    )


class Retention(BaseModel):
    """How long records of a cohort are kept."""

    cohort: str
    days: int | None


@router.put(
    "/{cohort_id}/retention",
    summary="Set how long records are kept",
    responses=documented(NotFound, CoreNeverForgotten),
)
def change(
    body: NewRetention, cohort_id: CohortId, request: Request, principal: Annotated[Principal, needs("forget:write")]
) -> Retention:
    """At most once a day, everything that is stored for longer is forgotten by a request of its own.

    The request has the selector and the regulation `retention`, seven days, and a certificate. Records on hold stay. A
    shorter period holds for what is stored already, within about a minute.
    """
    with context_of(request.scope).ledger.database.begin() as tx:
        found = retention.set_period(tx, principal.tenant_id, cohort_id, body.days)
        return Retention(cohort=found.id, days=found.retention_days)
