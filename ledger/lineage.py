"""Whether what a model rests on is public, as far as the ledger can tell.

A certificate speaks about user records only, because the core is public. If the ledger no longer says so, there is no
certificate.
"""

from __future__ import annotations

import json

from sqlalchemy import select

from ledger.database import Transaction
from ledger.tables import Cohort, CoreImport, Event, ForgetRequest, Model, RequestModel


def flaws(tx: Transaction, request: ForgetRequest) -> list[str]:
    """Return what is wrong with the models that a request covers: one sentence each, in a fixed order."""
    query = (
        select(Model)
        .join(RequestModel, RequestModel.model_id == Model.id)
        .where(RequestModel.request_id == request.id)
        .order_by(Model.id)
    )
    found = [(model.id, _flaw(tx, model)) for model in tx.session.execute(query).scalars()]
    return [f"model {model_id}: {flaw}" for model_id, flaw in found if flaw is not None]


def _flaw(tx: Transaction, model: Model) -> str | None:
    for name, cohort_id in (("core", model.core_cohort_id), ("evaluation", model.evaluation_cohort_id)):
        if cohort_id is not None and not _is_public(tx, model.tenant_id, cohort_id):
            return f"its {name} cohort is not a core cohort"
    if model.core_import_id is None:
        return None
    core = tx.session.get(CoreImport, model.core_import_id)
    if core is None or core.tenant_id != model.tenant_id:
        return "the import of its core is missing"
    if not core.attested_by.strip():
        return "nobody attests that the data of its imported core were public"
    return None


def _is_public(tx: Transaction, tenant_id: str, cohort_id: str) -> bool:
    """Whether a cohort is a core cohort and was made as one: rows can be changed by hand, events cannot."""
    cohort = tx.session.get(Cohort, cohort_id)
    if cohort is None or cohort.tenant_id != tenant_id or cohort.kind != "core":
        return False
    made = select(Event.body).where(
        Event.tenant_id == tenant_id, Event.kind == "cohort.created", Event.subject == cohort_id
    )
    body = tx.session.execute(made.order_by(Event.id).limit(1)).scalar_one_or_none()
    return body is not None and json.loads(body)["cohort_kind"] == "core"
