"""What is drawn over a model's versions: what they may tell in nats, and the accuracy of those that live.

What was measured on a version dies with it, since it would tell about the forgotten: of destroyed versions only the
bound is left, which follows from constants of the registration.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ledger import catalog, certified_bounds
from ledger.database import Transaction
from ledger.tables import ModelVersion

MOST = 200
"""Versions that are drawn, the newest ones."""


@dataclass(frozen=True, slots=True)
class Point:
    """One version. nats: its output bound; spent: of the exposure budget, by now; accuracy: from 0 to 1."""

    number: int
    generation: int
    state: str
    created_at: int
    nats: float
    spent: float | None
    accuracy: float | None


def points(tx: Transaction, tenant_id: str, model_id: str) -> Sequence[Point]:
    """Return the newest versions of a model's line, oldest first. Raises NotFound."""
    found = catalog.list_versions(tx, tenant_id, model_id, limit=MOST)
    return [_point(version, generation) for version, generation in reversed(found)]


def _point(version: ModelVersion, generation: int) -> Point:
    measured = version.measured or {}
    return Point(
        number=version.number,
        generation=generation,
        state=version.state,
        created_at=version.created_at,
        nats=float(certified_bounds.nats(version, "output")),
        spent=measured.get("exposure"),
        accuracy=measured.get("accuracy"),
    )


def for_chart(found: Sequence[Point]) -> dict[str, list[float | None]]:
    """Return the columns that the script draws; accuracy in per cent."""
    return {
        "version": [point.number for point in found],
        "nats": [point.nats for point in found],
        "spent": [point.spent for point in found],
        "accuracy": [None if point.accuracy is None else 100 * point.accuracy for point in found],
    }
