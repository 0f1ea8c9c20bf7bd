"""Uploading records to a cohort."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from ledger.errors import NotFound, RecordsClash, StoreFull, SubjectSuppressed, TooManyOfOneSubject
from service.api.schemas import CohortId
from service.auth import Principal, needs
from service.context import context_of
from service.errors import documented
from service.middleware import declared_length
from service.refusals import BodyNotOfType, BodyTooLarge, UploadRefused
from service.uploads import formats
from service.uploads.receive import nameless_file, receive
from service.uploads.store import Stored, limits_of, receiver, store

router = APIRouter(prefix="/v1/cohorts", tags=["cohorts"])

BODY = {
    "requestBody": {
        "required": True,
        "description": (
            "Records x with labels y and, if wanted, subject and id. By Content-Type: octet-stream is a .npz archive; "
            "x-ndjson one JSON object per line; vnd.apache.parquet a list column x or one column per feature; x-tar "
            "and zip hold images as `<class name>/<file>`. docs/formats.md shows each."
        ),
        "content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in formats.BY_TYPE},
    }
}


SubjectType = Annotated[
    str, Query(description="What `subject` holds: controller_customer_id, email, ...", max_length=64)
]


class Uploaded(BaseModel):
    """Records that are stored, and the job that will fold them into the models."""

    upload: str
    records: int
    job: int | None = Field(description="null for core cohorts: models are made from them later.")
    job_url: str | None
    in_core: int = Field(
        description="Of a user cohort: how many of them have content that stands, byte for byte, in a core cohort too. "
        "The core does not forget it."
    )


@router.post(
    "/{cohort_id}/records",
    status_code=202,
    summary="Upload records",
    openapi_extra=BODY,
    responses=documented(
        NotFound,
        UploadRefused,
        BodyTooLarge,
        BodyNotOfType,
        RecordsClash,
        SubjectSuppressed,
        TooManyOfOneSubject,
        StoreFull,
    ),
)
async def upload(
    cohort_id: CohortId,
    request: Request,
    response: Response,
    principal: Annotated[Principal, needs("data:write")],
    subject_type: SubjectType = "controller_customer_id",
) -> Uploaded:
    """All records of the upload are stored durably before this answers, or none of them.

    Subjects are kept as keyed hashes only. Records of somebody who asked to be forgotten are refused.
    """
    stored = await take_in(request, response, principal, cohort_id, subject_type)
    return Uploaded(
        upload=stored.upload_id,
        records=stored.records,
        job=stored.job_id,
        job_url=job_url(stored),
        in_core=stored.in_core,
    )


async def take_in(
    request: Request,
    response: Response,
    principal: Principal,
    cohort_id: str,
    subject_type: str,
    *,
    corrects: bool = False,
) -> Stored:
    """Receive a body of records and store it. `Location` of the response is the job that follows, if there is one."""
    context = context_of(request.scope)
    kind = formats.of_content_type(request.headers.get("content-type"))
    limit = context.settings.max_upload_bytes
    if declared_length(request.scope) > limit:
        raise BodyTooLarge(limit)
    to = await run_in_threadpool(
        receiver, context.ledger, principal.tenant_id, cohort_id, subject_type, corrects=corrects
    )
    limits = limits_of(context.settings)
    folder = Path(context.settings.data_dir)
    with nameless_file(folder) as file:
        await receive(request.stream(), file, limit=limit)
        stored = await run_in_threadpool(store, context.ledger, to, file, limits, kind=kind, folder=folder)
    if stored.job_id is not None:
        context.on_accepted()
        response.headers["Location"] = f"/v1/jobs/{stored.job_id}"
    return stored


def job_url(stored: Stored) -> str | None:
    """Return where the job of an upload can be followed."""
    return None if stored.job_id is None else f"/v1/jobs/{stored.job_id}"
