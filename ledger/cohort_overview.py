"""What a cohort holds and who uses it.

Of a user cohort nothing is counted by class: whoever looked before and after an erasure would learn the class of what
was forgotten.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, or_, select

from ledger import catalog, holds
from ledger.database import Transaction
from ledger.tables import Cohort, Generation, Model, ModelCohort, Record, Upload


@dataclass(frozen=True, slots=True)
class Use:
    """A model that learns from a cohort, rests on it (`core`), or is measured on it (`evaluation`)."""

    line_id: str
    name: str
    state: str
    generation: int
    how: str


def by_class(tx: Transaction, cohort: Cohort) -> Sequence[int] | None:
    """Return how many records of each class a core cohort holds; None for a user cohort."""
    if cohort.kind != "core":
        return None
    query = select(Record.class_index, func.count()).where(Record.cohort_id == cohort.id).group_by(Record.class_index)
    counted = dict(tx.session.execute(query).all())
    return [counted.get(index, 0) for index in range(len(cohort.class_names))]


def on_hold(tx: Transaction, cohort: Cohort) -> int:
    """Count the cohort's records that a legal hold keeps."""
    subjects = holds.subjects(tx, cohort.tenant_id)
    if subjects is None:
        return 0
    query = select(func.count()).select_from(Record)
    held = Record.cohort_id == cohort.id, Record.removed_seq.is_(None), Record.subject_id.in_(subjects)
    return tx.session.execute(query.where(*held)).scalar_one()


def uses(tx: Transaction, cohort: Cohort) -> Sequence[Use]:
    """Return the models over a cohort that are not destroyed, by name and generation."""
    learns = select(ModelCohort.model_id).where(ModelCohort.cohort_id == cohort.id)
    query = (
        select(Model, Generation.line_id, Generation.number)
        .join(Generation, Generation.model_id == Model.id)
        .where(
            Model.tenant_id == cohort.tenant_id,
            Model.state != "destroyed",
            or_(Model.id.in_(learns), Model.core_cohort_id == cohort.id, Model.evaluation_cohort_id == cohort.id),
        )
        .order_by(Model.name, Generation.number)
    )
    return [
        Use(line_id, model.name, model.state, number, _how(model, cohort))
        for model, line_id, number in tx.session.execute(query)
    ]


def _how(model: Model, cohort: Cohort) -> str:
    ways = {"core": model.core_cohort_id == cohort.id, "evaluation": model.evaluation_cohort_id == cohort.id}
    return " and ".join(name for name, so in ways.items() if so) or "user"


def uploads(tx: Transaction, cohort_id: str, *, limit: int) -> Sequence[Upload]:
    """Return a cohort's newest uploads."""
    query = select(Upload).where(Upload.cohort_id == cohort_id).order_by(Upload.created_at.desc(), Upload.id)
    return tx.session.execute(query.limit(limit)).scalars().all()


def cohorts_of(tx: Transaction, model: Model) -> Sequence[tuple[str, Cohort]]:
    """Return a model's lineage: its core cohort, that of its evaluation, and the user cohorts it learns from."""
    ids = [("core", model.core_cohort_id)]
    ids += [("evaluation", model.evaluation_cohort_id)] if model.evaluation_cohort_id else []
    ids += [("user", cohort_id) for cohort_id in catalog.user_cohorts(tx, model.id)]
    return [(how, tx.session.get_one(Cohort, cohort_id)) for how, cohort_id in ids]
