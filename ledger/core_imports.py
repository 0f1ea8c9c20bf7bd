"""Imported cores: stored sealed, once, and never changed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select

from ledger import events, inventory
from ledger.database import Transaction
from ledger.errors import NotFound
from ledger.ledger import Ledger
from ledger.sealed import seal, unseal
from ledger.tables import CoreImport

LEASE_US = 15 * 60 * 1_000_000


@dataclass(frozen=True, slots=True)
class NewCore:
    """What is said about a core. attested_by: the role of whoever says that its training data were public."""

    architecture: str
    leaky: bool
    shape: tuple[int, ...]
    outputs: int
    attested_by: str
    mean: tuple[float, ...] | None = None
    deviation: tuple[float, ...] | None = None


def store(ledger: Ledger, tenant_id: str, core: NewCore, data: bytes, *, parameters: int) -> CoreImport:
    """Seal and store a file of weights that has been checked. If this process dies, it is swept after a quarter hour.

    `parameters`: how many numbers were learned.

    Raises StoreFailed, ObjectMissing: it was given up before it was finished; ObjectRefused: above 2 GiB.
    """
    with ledger.database.read() as tx:
        import_id, until = tx.new_id(), tx.now + LEASE_US
    random = ledger.database.random
    sealed = seal(data, ring=ledger.ring, context=core_context(import_id), random=random)
    owner = inventory.until(until)
    name = inventory.write_pending(ledger.database, ledger.objects, tenant_id, "core", owner, [sealed])
    with ledger.database.begin() as tx:
        row = CoreImport(
            id=import_id,
            tenant_id=tenant_id,
            architecture=core.architecture,
            leaky=core.leaky,
            shape=list(core.shape),
            outputs=core.outputs,
            mean=None if core.mean is None else list(core.mean),
            deviation=None if core.deviation is None else list(core.deviation),
            parameters=parameters,
            digest=hashlib.sha256(data).hexdigest(),
            attested_by=core.attested_by,
            object_name=name,
            created_at=tx.now,
        )
        tx.session.add(row)
        inventory.enliven(tx, [name])
        events.append(tx, tenant_id, "core.imported", import_id, architecture=core.architecture, digest=row.digest)
        return row


def core_context(import_id: str) -> bytes:
    """Return what the encryption of an imported core is bound to."""
    return b"core:" + import_id.encode()


def get(tx: Transaction, tenant_id: str, import_id: str) -> CoreImport:
    """Return an import of this tenant. Raises NotFound."""
    row = tx.session.get(CoreImport, import_id)
    if row is None or row.tenant_id != tenant_id:
        raise NotFound("imported core", import_id)
    return row


def list_all(tx: Transaction, tenant_id: str) -> Sequence[CoreImport]:
    """Return the tenant's imports, oldest first."""
    query = select(CoreImport).where(CoreImport.tenant_id == tenant_id).order_by(CoreImport.created_at, CoreImport.id)
    return tx.session.execute(query).scalars().all()


def read(ledger: Ledger, core: CoreImport) -> bytes:
    """Return the file as it was imported. Raises ObjectMissing, ObjectCorrupt, StoreFailed."""
    sealed = inventory.read(ledger.database, ledger.objects, core.object_name)
    return unseal(sealed, ring=ledger.ring, context=core_context(core.id), name=core.object_name)
