"""Who was told something that came from records which are forgotten since: GDPR, Article 19.

Answers that were given are listed, not recalled. `ledger.holders` notes which versions held the records.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import and_, func, select

from ledger import requests
from ledger.database import Transaction
from ledger.tables import (
    ApiKey,
    ForgetRequest,
    Generation,
    ModelVersion,
    RequestHolder,
    Sighting,
)


@dataclass(frozen=True, slots=True)
class Recipient:
    """A key, and which versions with the records it was answered from; times in UTC microseconds.

    line_id: the model as it is asked. first_version, last_version: the first and the last of those that it saw.
    """

    key_id: str
    label: str
    line_id: str
    first_version: int
    last_version: int
    versions: int
    first_at: int
    last_at: int
    queries: int


def of_request(tx: Transaction, tenant_id: str, request_id: str) -> Sequence[Recipient]:
    """Return the keys that were answered from versions with a request's records. Raises NotFound."""
    requests.get(tx, tenant_id, request_id)
    query = (
        select(
            Sighting.key_id,
            ApiKey.label,
            Generation.line_id,
            func.min(Sighting.number),
            func.max(Sighting.number),
            func.count(),
            func.min(Sighting.first_at),
            func.max(Sighting.last_at),
            func.sum(Sighting.queries),
        )
        .join(ApiKey, ApiKey.id == Sighting.key_id)
        .join(Generation, Generation.model_id == Sighting.model_id)
        .join(ModelVersion, and_(ModelVersion.model_id == Sighting.model_id, ModelVersion.number == Sighting.number))
        .join(RequestHolder, RequestHolder.model_id == Sighting.model_id)
        .join(ForgetRequest, ForgetRequest.id == RequestHolder.request_id)
        .where(
            RequestHolder.request_id == request_id,
            ModelVersion.applied_seq >= RequestHolder.since_seq,
            ModelVersion.applied_seq < ForgetRequest.seq,
        )
        .group_by(Sighting.key_id, ApiKey.label, Generation.line_id)
        .order_by(Generation.line_id, func.min(Sighting.first_at), Sighting.key_id)
    )
    return [Recipient(*row[:8], int(row[8])) for row in tx.session.execute(query)]
