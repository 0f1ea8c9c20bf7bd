"""Uploads in parts: begin, send the bytes in any number of pieces, finish; and how far an upload is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Header, Request, Response
from fastapi import Path as PathParameter
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from starlette.concurrency import run_in_threadpool

from ledger import inventory, parts, tables, uploads
from ledger.database import Transaction
from ledger.errors import (
    NotFound,
    OffsetMismatch,
    RecordsClash,
    StoreFull,
    SubjectSuppressed,
    TooManyOfOneSubject,
    UploadIncomplete,
    WrongState,
)
from ledger.ledger import Ledger
from service.api.records import Uploaded
from service.api.schemas import ID_PATTERN, Body, CohortId
from service.auth import Principal, needs
from service.context import context_of
from service.errors import documented
from service.moments import when
from service.refusals import BodyTooLarge, UploadRefused
from service.uploads.formats import Name
from service.uploads.parts import append, finish
from service.uploads.store import limits_of, receiver

router = APIRouter(prefix="/v1", tags=["uploads"])

UploadId = Annotated[str, PathParameter(pattern=ID_PATTERN, description="The upload's id.")]
Offset = Annotated[int, Header(alias="Upload-Offset", ge=0, le=2**40, description="Where the body's first byte lies.")]
Writer = Annotated[Principal, needs("data:write")]
_READERS = ("data:write", "audit:read")
BODY = {
    "requestBody": {
        "required": True,
        "description": "The next bytes of the file, as many as wanted.",
        "content": {"application/offset+octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


class NewUpload(Body):
    """An upload that will arrive in parts."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"format": "parquet", "size": 73400320}]})
    format: Name = Field(description="What the bytes will be; docs/formats.md shows each.")
    size: int | None = Field(None, ge=1, le=2**40, description="Of the whole file in bytes, if known.")
    subject_type: Annotated[str, StringConstraints(min_length=1, max_length=64)] = Field(
        "controller_customer_id", description="What `subject` holds: controller_customer_id, email, ..."
    )


class Upload(BaseModel):
    """An upload as it is."""

    id: str
    cohort: str
    state: str = Field(description="open (parts may come), receiving (it is being stored), stored, added, or failed.")
    format: str | None = Field(description="null: it came in one piece.")
    size: int | None = Field(description="In bytes, as announced.")
    offset: int | None = Field(description="How many bytes have arrived.")
    records: int = Field(description="How many records are stored.")
    features: float | None = Field(description="The share of them, 0 to 1, that every model has read.")
    job: int | None = Field(description="The job that folds them into the models.")
    error: str | None
    created_at: str
    expires_at: str | None = Field(description="When an open upload ends unless another part comes.")


def _shown(tx: Transaction, upload: tables.Upload) -> Upload:
    return Upload(
        id=upload.id,
        cohort=upload.cohort_id,
        state=upload.state,
        format=upload.format,
        size=upload.announced_bytes,
        offset=upload.received_bytes,
        records=upload.records,
        features=parts.features(tx, upload),
        job=parts.job_of(tx, upload.id),
        error=upload.error,
        created_at=when(upload.created_at),
        expires_at=when(upload.lease_until) if upload.state == "open" else None,
    )


@router.post(
    "/cohorts/{cohort_id}/uploads",
    status_code=201,
    summary="Begin an upload in parts",
    responses=documented(NotFound, BodyTooLarge),
)
def create(cohort_id: CohortId, body: NewUpload, request: Request, response: Response, principal: Writer) -> Upload:
    """Then send the bytes with PATCH to its Location, and finish it. It is kept for a day after the last part."""
    context = context_of(request.scope)
    if (body.size or 0) > context.settings.max_upload_bytes:
        raise BodyTooLarge(context.settings.max_upload_bytes)
    receiver(context.ledger, principal.tenant_id, cohort_id, body.subject_type)  # refuses what could never be finished
    upload = parts.begin(
        context.ledger,
        principal.tenant_id,
        cohort_id,
        format=body.format,
        subject_type=body.subject_type,
        announced=body.size,
    )
    response.headers["Location"] = f"/v1/uploads/{upload.id}"
    response.headers["Upload-Offset"] = "0"
    with context.ledger.database.read() as tx:
        return _shown(tx, upload)


@router.patch(
    "/uploads/{upload_id}",
    status_code=204,
    summary="Send a part",
    openapi_extra=BODY,
    responses=documented(NotFound, WrongState, OffsetMismatch, BodyTooLarge, StoreFull),
)
async def send(upload_id: UploadId, request: Request, principal: Writer, offset: Offset) -> Response:
    """The body is durable, encrypted, before this answers; of one that breaks off, what has arrived.

    Upload-Offset must be where the last part ended. Otherwise 409 says in the same header where that is.
    """
    context = context_of(request.scope)
    announced = await run_in_threadpool(_expected, context.ledger, principal.tenant_id, upload_id, offset)
    limit = min(announced or 2**40, context.settings.max_upload_bytes)
    reached = await append(context.ledger, principal.tenant_id, upload_id, offset, request.stream(), limit=limit)
    return Response(status_code=204, headers={"Upload-Offset": str(reached)})


def _expected(ledger: Ledger, tenant_id: str, upload_id: str, start: int) -> int | None:
    """See that a part may begin here, before it is read; return the announced size."""
    with ledger.database.read() as tx:
        upload = parts.get(tx, tenant_id, upload_id)
        parts.check_open(upload, start)
        return upload.announced_bytes


@router.head("/uploads/{upload_id}", summary="Ask where to go on", responses=documented(NotFound))
def ask(upload_id: UploadId, request: Request, principal: Writer) -> Response:
    """Upload-Offset says how many bytes are durable. Send the file from there."""
    with context_of(request.scope).ledger.database.read() as tx:
        upload = parts.get(tx, principal.tenant_id, upload_id)
    headers = {"Upload-Offset": str(upload.received_bytes or 0)}
    if upload.announced_bytes is not None:
        headers["Upload-Length"] = str(upload.announced_bytes)
    return Response(headers=headers)


@router.get("/uploads/{upload_id}", summary="Show an upload", responses=documented(NotFound))
def show(upload_id: UploadId, request: Request, principal: Annotated[Principal, needs(*_READERS)]) -> Upload:
    """How far it is: bytes, stored records, and features; for uploads in one piece too."""
    with context_of(request.scope).ledger.database.read() as tx:
        return _shown(tx, parts.get(tx, principal.tenant_id, upload_id))


@router.post(
    "/uploads/{upload_id}/finish",
    status_code=202,
    summary="Finish an upload",
    responses=documented(
        NotFound,
        WrongState,
        UploadIncomplete,
        UploadRefused,
        RecordsClash,
        SubjectSuppressed,
        TooManyOfOneSubject,
        StoreFull,
    ),
)
def finish_upload(upload_id: UploadId, request: Request, response: Response, principal: Writer) -> Uploaded:
    """All its records are checked, then stored, or none of them. This takes a while for large files.

    Whoever cannot wait may ask for the upload's state instead. A refused upload has failed, and its parts are deleted.
    """
    context = context_of(request.scope)
    limits = limits_of(context.settings)
    folder = Path(context.settings.data_dir)
    stored = finish(context.ledger, principal.tenant_id, upload_id, limits, folder=folder)
    inventory.delete_doomed(context.ledger.database, context.ledger.objects, principal.tenant_id)  # the parts
    job_url = None if stored.job_id is None else f"/v1/jobs/{stored.job_id}"
    if job_url is not None:
        context.on_accepted()
        response.headers["Location"] = job_url
    return Uploaded(
        upload=stored.upload_id,
        records=stored.records,
        job=stored.job_id,
        job_url=job_url,
        in_core=stored.in_core,
    )


@router.delete(
    "/uploads/{upload_id}", status_code=204, summary="Give an upload up", responses=documented(NotFound, WrongState)
)
def delete(upload_id: UploadId, request: Request, principal: Writer) -> Response:
    """Its parts are deleted. Stored records can only be forgotten: send a forget request."""
    ledger = context_of(request.scope).ledger
    with ledger.database.read() as tx:
        upload = parts.get(tx, principal.tenant_id, upload_id)
        if upload.state not in ("open", "failed"):
            raise WrongState("upload", upload.state, "open")
    uploads.give_up(ledger, upload_id, error="It was given up.")
    return Response(status_code=204)
