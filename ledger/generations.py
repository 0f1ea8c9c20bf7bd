"""Looking generations up: which row of `models` an id stands for, and its place in its line.

A line's id is that of its first generation. It stands for the current generation, whichever that is; the own id of any
later generation stands for that one.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select

from ledger.database import Transaction
from ledger.errors import ModelRetired, NotFound
from ledger.tables import Generation, Model

GONE = ("retiring", "destroyed")  # states of models for which nothing is made any more


def of(tx: Transaction, model_id: str) -> Generation:
    """Return a model's place in its line, as it is now."""
    return tx.session.get_one(Generation, model_id, populate_existing=True)


def current(tx: Transaction, line_id: str) -> Model:
    """Return the generation that a line's id stands for."""
    query = select(Model).join(Generation, Generation.model_id == Model.id).execution_options(populate_existing=True)
    return tx.session.execute(query.where(Generation.line_id == line_id, Generation.is_current)).scalar_one()


def resolve(tx: Transaction, tenant_id: str, model_id: str) -> Model:
    """Return the model that an id stands for. Raises NotFound."""
    model = tx.session.get(Model, model_id)
    if model is None or model.tenant_id != tenant_id:
        raise NotFound("model", model_id)
    return current(tx, model_id) if of(tx, model_id).line_id == model_id else model


def public_id(generation: Generation) -> str:
    """Return the id under which a generation is known: the line's, if it is the current one."""
    return generation.line_id if generation.is_current else generation.model_id


def all_of(tx: Transaction, line_id: str) -> Sequence[tuple[Generation, Model]]:
    """Return a line's generations with their models, oldest first."""
    query = select(Generation, Model).join(Model, Model.id == Generation.model_id)
    query = query.where(Generation.line_id == line_id).order_by(Generation.number)
    # Anew: what was read before the line was locked may be of before somebody else's cut-over.
    rows = tx.session.execute(query.execution_options(populate_existing=True))
    return [(row[0], row[1]) for row in rows]


def successor(tx: Transaction, line_id: str) -> tuple[Generation, Model] | None:
    """Return the generation that is being made beside the current one, or None."""
    beside = [pair for pair in all_of(tx, line_id) if not pair[0].is_current and pair[1].state not in GONE]
    return beside[-1] if beside else None


def lock_line(tx: Transaction, line_id: str) -> None:
    """Lock a line until the commit. Always before any other generation of it, so that nobody waits in a circle."""
    tx.session.execute(select(Model.id).where(Model.id == line_id).with_for_update())


def require_alive(tx: Transaction, model_id: str) -> Model:
    """Return a model, locked, as it is now. Raises ModelRetired."""
    model = tx.session.get_one(Model, model_id, with_for_update=True, populate_existing=True)
    if model.state in GONE:
        raise ModelRetired(model.state)
    return model
