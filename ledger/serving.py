"""Which versions answer queries now, and which objects a process needs to answer from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import and_, select

from ledger.database import Transaction
from ledger.tables import Generation, Model, ModelVersion


@dataclass(frozen=True, slots=True)
class Servable:
    """The active version of a line's current generation: its number, its objects, and what its weights committed to.

    `name` is the line's.
    """

    tenant_id: str
    line_id: str
    model_id: str
    number: int
    public_object: str
    weights_object: str
    weights_commitment: str
    name: str


def servable(tx: Transaction) -> Sequence[Servable]:
    """Return the active version of every model of every tenant. Cheap: asked many times a second."""
    query = (
        select(
            Model.tenant_id,
            Generation.line_id,
            Model.id,
            ModelVersion.number,
            Model.public_object,
            ModelVersion.weights_object,
            ModelVersion.weights_commitment,
            Model.name,
        )
        .join(ModelVersion, ModelVersion.id == Model.active_version_id)
        .join(Generation, and_(Generation.model_id == Model.id, Generation.is_current))
        .where(Model.state == "ready", Model.public_object.is_not(None), ModelVersion.weights_object.is_not(None))
        .order_by(Model.id)
    )
    return [
        Servable(tenant_id, line_id, model_id, number, public or "", weights or "", commitment, name)
        for tenant_id, line_id, model_id, number, public, weights, commitment, name in tx.session.execute(query)
    ]
