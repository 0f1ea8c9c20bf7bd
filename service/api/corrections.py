"""Correcting stored records: their content, or their labels."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from ledger.errors import (
    NotFound,
    RecordsClash,
    RecordsUnknown,
    StoreFull,
    SubjectHeld,
    SubjectSuppressed,
    WrongCohortKind,
)
from service.api.records import BODY, SubjectType, job_url, take_in
from service.api.schemas import CohortId
from service.auth import Principal, needs
from service.errors import documented
from service.refusals import BodyNotOfType, BodyTooLarge, UploadRefused

router = APIRouter(prefix="/v1/cohorts", tags=["cohorts"])


class Correcting(BaseModel):
    """Corrected records that are stored, the job that puts them in place, and the request that removes the old ones."""

    upload: str
    records: int
    job: int
    job_url: str
    in_core: int = Field(description="How many of the new records have content that a core cohort holds too.")
    forget_request: str = Field(description="Of the kind `correction`: with a deadline, and a certificate at its end.")
    forget_request_url: str


@router.post(
    "/{cohort_id}/corrections",
    status_code=202,
    summary="Correct records",
    openapi_extra=BODY,
    responses=documented(
        NotFound,
        WrongCohortKind,
        UploadRefused,
        BodyTooLarge,
        BodyNotOfType,
        RecordsUnknown,
        RecordsClash,
        SubjectSuppressed,
        SubjectHeld,
        StoreFull,
    ),
)
async def correct(
    cohort_id: CohortId,
    request: Request,
    response: Response,
    principal: Annotated[Principal, needs("data:write")],
    subject_type: SubjectType = "controller_customer_id",
) -> Correcting:
    """Each record replaces the stored one of the same id and subject, with a new x, a new y, or both.

    The old record leaves and the new one enters in one version of every model: none has both, or neither. A record
    that is not stored, or that is being forgotten, cannot be corrected: then nothing of the upload is stored.
    """
    stored = await take_in(request, response, principal, cohort_id, subject_type, corrects=True)
    assert stored.job_id is not None
    assert stored.request_id is not None
    return Correcting(
        upload=stored.upload_id,
        records=stored.records,
        job=stored.job_id,
        job_url=job_url(stored) or "",
        in_core=stored.in_core,
        forget_request=stored.request_id,
        forget_request_url=f"/v1/forget-requests/{stored.request_id}",
    )
