"""Which forget requests a job serves, and which ones are therefore stuck when it fails."""

from __future__ import annotations

from sqlalchemy import ColumnElement, and_, select

from ledger.database import Transaction
from ledger.tables import ForgetRequest, Job, RequestModel, Upload


def served_by(tenant_id: str, model_id: str | None, upload_id: str | None = None) -> ColumnElement[bool]:
    """Return the condition on requests that wait for this model's next version, or (None) for the tenant's purge.

    With an upload: on the request that a correction waits with until its records are added.
    """
    if upload_id is not None:
        correction = select(Upload.request_id).where(Upload.id == upload_id)
        return and_(
            ForgetRequest.tenant_id == tenant_id,
            ForgetRequest.id.in_(correction),
            ForgetRequest.state == "accepted",
        )
    if model_id is None:
        return and_(ForgetRequest.tenant_id == tenant_id, ForgetRequest.state.in_(("published", "purging")))
    waiting = select(RequestModel.request_id).where(
        RequestModel.model_id == model_id, RequestModel.version_id.is_(None)
    )
    return and_(ForgetRequest.tenant_id == tenant_id, ForgetRequest.id.in_(waiting))


def is_stuck(tx: Transaction, request: ForgetRequest) -> bool:
    """Whether a job that serves this request has failed, so that it does not go on before somebody retries that."""
    if request.error is None:
        return False
    failed = select(Job.model_id, Job.upload_id).where(Job.tenant_id == request.tenant_id, Job.state == "failed")
    return any(
        tx.session.execute(
            select(ForgetRequest.id).where(
                served_by(request.tenant_id, model_id, upload_id), ForgetRequest.id == request.id
            )
        ).first()
        for model_id, upload_id in tx.session.execute(failed.distinct()).all()
    )
