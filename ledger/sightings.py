"""Which versions a client was answered from: noted before the first answer, counted afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Select, and_, case, or_, select, update

from ledger.database import Transaction
from ledger.tables import ApiKey, Generation, ModelVersion, Sighting


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """What a key may have seen: one version of one generation."""

    key_id: str
    model_id: str
    number: int


@dataclass(frozen=True, slots=True)
class Uses:
    """How many queries were answered, and when the last one was (UTC microseconds)."""

    queries: int
    last_at: int


@dataclass(frozen=True, slots=True)
class Seen:
    """A version that a client has seen, and the change that it is the fold up to."""

    model_id: str
    number: int
    applied_seq: int


def note(tx: Transaction, tenant_id: str, place: Place) -> None:
    """Note that a key is about to be answered from a version. Noting it again changes nothing.

    The caller holds the lock on the client (`lock_client`), so that two processes do not note it at once.
    """
    if not is_noted(tx, place):
        tx.session.add(
            Sighting(
                key_id=place.key_id,
                model_id=place.model_id,
                number=place.number,
                tenant_id=tenant_id,
                first_at=tx.now,
                last_at=tx.now,
                queries=0,
            )
        )
        tx.session.flush()


def is_noted(tx: Transaction, place: Place) -> bool:
    """Whether a key has been answered from a version, or was about to be."""
    return tx.session.get(Sighting, (place.key_id, place.model_id, place.number)) is not None


def version(tx: Transaction, place: Place) -> Seen:
    """Return the version that a key is about to see."""
    query = select(ModelVersion.applied_seq).where(
        ModelVersion.model_id == place.model_id, ModelVersion.number == place.number
    )
    return Seen(place.model_id, place.number, tx.session.execute(query).scalar_one())


def lock_client(tx: Transaction, client_id: str) -> None:
    """Keep other processes from noting or judging what this client sees, until the commit."""
    tx.session.execute(select(ApiKey.id).where(ApiKey.id == client_id).with_for_update())


def add(tx: Transaction, uses: Mapping[Place, Uses]) -> None:
    """Add queries that were answered since the last time."""
    for place, more in sorted(uses.items()):  # in one order: two processes must not lock each other out
        later = case((Sighting.last_at < more.last_at, more.last_at), else_=Sighting.last_at)
        tx.session.execute(
            update(Sighting)
            .where(
                Sighting.key_id == place.key_id,
                Sighting.model_id == place.model_id,
                Sighting.number == place.number,
            )
            .values(queries=Sighting.queries + more.queries, last_at=later)
            .execution_options(synchronize_session=False)
        )


def of_client(tx: Transaction, client_id: str, line_id: str) -> Sequence[Seen]:
    """Return the versions of a line that a client's keys have seen, in their order."""
    query = (
        select(Sighting.model_id, Sighting.number, ModelVersion.applied_seq)
        .join(Generation, Generation.model_id == Sighting.model_id)
        .join(ModelVersion, and_(ModelVersion.model_id == Sighting.model_id, ModelVersion.number == Sighting.number))
        .where(Generation.line_id == line_id, Sighting.key_id.in_(keys_of(client_id)))
        .distinct()
        .order_by(Sighting.number)
    )
    return [Seen(*row) for row in tx.session.execute(query)]


def keys_of(client_id: str) -> Select[str]:
    """Return the query for the ids of a client's keys."""
    return select(ApiKey.id).where(or_(ApiKey.id == client_id, ApiKey.client_id == client_id))


def lines_of(tx: Transaction, client_id: str) -> Sequence[str]:
    """Return the lines of which a client has seen a version."""
    query = (
        select(Generation.line_id)
        .join(Sighting, Sighting.model_id == Generation.model_id)
        .where(Sighting.key_id.in_(keys_of(client_id)))
        .distinct()
        .order_by(Generation.line_id)
    )
    return tx.session.execute(query).scalars().all()


def clients_of(tx: Transaction, tenant_id: str, line_id: str) -> Sequence[str]:
    """Return the clients that have seen a version of a line."""
    query = (
        select(ApiKey.id, ApiKey.client_id)
        .join(Sighting, Sighting.key_id == ApiKey.id)
        .join(Generation, Generation.model_id == Sighting.model_id)
        .where(Generation.line_id == line_id, ApiKey.tenant_id == tenant_id)
        .distinct()
    )
    return sorted({client_id or key_id for key_id, client_id in tx.session.execute(query)})
