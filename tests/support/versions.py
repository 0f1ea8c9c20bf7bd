"""Rows of versions without any mathematics behind them."""

from __future__ import annotations

from sqlalchemy import update

from ledger.database import Transaction
from ledger.tables import Model, ModelVersion


def add_version(tx: Transaction, model_id: str, number: int, applied_seq: int) -> ModelVersion:
    """Add a version, which is the fold up to `applied_seq`; nothing is served from it."""
    version = ModelVersion(
        id=tx.new_id(),
        tenant_id=tx.session.get_one(Model, model_id).tenant_id,
        model_id=model_id,
        number=number,
        state="active",
        applied_seq=applied_seq,
        anchor_number=1,
        weights_commitment="w",
        statistics_commitment="s",
        solver_fingerprint="f",
        checks={},
        measured={"records": 1},
        created_at=tx.now,
    )
    tx.session.add(version)
    tx.session.flush()
    return version


def publish_version(tx: Transaction, model_id: str, number: int, applied_seq: int) -> None:
    """Add a version and make it the model's active one."""
    tx.session.execute(update(ModelVersion).where(ModelVersion.model_id == model_id).values(state="superseded"))
    version = add_version(tx, model_id, number, applied_seq)
    facts = {"state": "ready", "applied_seq": applied_seq, "active_version_id": version.id}
    tx.session.execute(update(Model).where(Model.id == model_id).values(**facts))
