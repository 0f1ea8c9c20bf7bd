"""Which objects lie in the store, and why.

The row of an object is committed before the object is written (`pending`), becomes `live` in the transaction that
first refers to it, and `doomed` in the one that last did. So whatever a crash leaves behind has a row that says so.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import ColumnElement, and_, delete, insert, or_, select, update

from ledger.database import Database, Transaction
from ledger.errors import LeaseLost, LedgerError, ObjectCorrupt, ObjectMissing, StoreFailed, UploadClosed
from ledger.objects import ObjectStore, Written
from ledger.tables import Job, StoredObject, Upload

WRITERS = 8
"""Objects of one writer that are written at the same time."""
_UNTIL = "until"


def until(micros: int) -> str:
    """Return the owner of an object whose writer counts as dead once this time (UTC microseconds) is over."""
    return f"{_UNTIL}:{micros}"


def book(database: Database, tenant_id: str, kind: str, owner: str, *, count: int) -> list[str]:
    """Book new objects for `owner`, who will write them, and return their random names."""
    with database.begin() as tx:
        names = [tx.new_id() for _ in range(count)]
        row = {"tenant_id": tenant_id, "kind": kind, "state": "pending", "owner": owner, "size": 0}
        if names:
            tx.session.execute(insert(StoredObject), [{**row, "name": name, "created_at": tx.now} for name in names])
    return names


def write_booked(database: Database, store: ObjectStore, owner: str, blobs: Mapping[str, Iterable[bytes]]) -> None:
    """Write objects that were booked (name to parts), and note their sizes and digests.

    Raises what the store raises; the rows then stay `pending` and what was written is swept later. Raises LeaseLost
    or UploadClosed when the owner was given up meanwhile: nobody would look for those objects any more, so they are
    deleted.
    """
    written = _write_all(store, blobs)
    with database.begin() as tx:
        lost = note_written(tx, written)
    for name in lost:
        store.delete(name)
    if lost:
        raise _given_up(owner)


def _write_all(store: ObjectStore, blobs: Mapping[str, Iterable[bytes]]) -> dict[str, Written]:
    """Write objects side by side: each waits several times for the disk, which serves many waiting writers at once."""
    if len(blobs) == 1:
        return {name: store.write(name, parts) for name, parts in blobs.items()}
    with ThreadPoolExecutor(WRITERS) as pool:
        return dict(zip(blobs, pool.map(store.write, blobs.keys(), blobs.values()), strict=True))


def note_written(tx: Transaction, written: Mapping[str, Written]) -> list[str]:
    """Note the sizes and digests of booked objects that were written; return those that were given up meanwhile."""
    kept: set[str] = set()
    names = list(written)
    for start in range(0, len(names), 500):
        part = select(StoredObject).where(StoredObject.name.in_(names[start : start + 500])).with_for_update()
        for row in tx.session.execute(part.execution_options(populate_existing=True)).scalars():
            if row.state == "pending":
                row.size, row.sha256 = written[row.name].size, written[row.name].sha256
                kept.add(row.name)
    return [name for name in names if name not in kept]


def write_pending(
    database: Database, store: ObjectStore, tenant_id: str, kind: str, owner: str, parts: Iterable[bytes]
) -> str:
    """Book an object, write it, and return its name. Raises what `write_booked` raises."""
    (name,) = book(database, tenant_id, kind, owner, count=1)
    write_booked(database, store, owner, {name: parts})
    return name


def write_pending_each(
    database: Database, store: ObjectStore, tenant_id: str, kind: str, owner: str, blobs: Sequence[bytes]
) -> list[str]:
    """Book and write several objects in two transactions; return their names. Raises what `write_booked` raises."""
    names = book(database, tenant_id, kind, owner, count=len(blobs))
    write_booked(database, store, owner, {name: [blob] for name, blob in zip(names, blobs, strict=True)})
    return names


def read(database: Database, store: ObjectStore, name: str) -> bytes:
    """Return a whole object, if it is the one whose SHA-256 was noted when it was written.

    Encryption alone would not tell an older object of the same owner that somebody has put in its place.
    Raises ObjectMissing: it is not in the store, or no row knows it; ObjectCorrupt, StoreFailed.
    """
    with database.read() as tx:
        row = tx.session.execute(select(StoredObject.sha256).where(StoredObject.name == name)).one_or_none()
    if row is None:
        raise ObjectMissing(name)
    content = store.read(name)
    if row.sha256 is None or not hmac.compare_digest(hashlib.sha256(content).hexdigest(), row.sha256):
        raise ObjectCorrupt(name, "its bytes are not those that were written: their SHA-256 is not the ledger's")
    return content


def _given_up(owner: str) -> LedgerError:
    kind, _, rest = owner.partition(":")
    if kind == _UNTIL:
        return StoreFailed("writing took so long that the object was given up", "Send it again")
    return UploadClosed(rest) if kind == "upload" else LeaseLost(int(rest.partition(":")[0]))


def enliven(tx: Transaction, names: Iterable[str]) -> None:
    """Mark objects live, in the transaction that refers to them. Raises ObjectMissing: one was given up and doomed."""
    names = list(names)
    if _set_state(tx, names, "live", only="pending") != len(names):
        alive = select(StoredObject.name).where(StoredObject.state == "live")
        known = set(tx.session.execute(alive).scalars())
        raise ObjectMissing(next((name for name in names if name not in known), names[0]))


def doom(tx: Transaction, names: Iterable[str | None]) -> None:
    """Mark objects for deletion, in the transaction that stops referring to them."""
    _set_state(tx, [name for name in names if name is not None], "doomed")


def _set_state(tx: Transaction, names: Sequence[str], state: str, *, only: str | None = None) -> int:
    changed = 0
    for start in range(0, len(names), 500):
        statement = update(StoredObject).where(StoredObject.name.in_(names[start : start + 500])).values(state=state)
        if only is not None:
            statement = statement.where(StoredObject.state == only)
        changed += len(tx.session.execute(statement.returning(StoredObject.name)).all())
    return changed


def doom_abandoned(tx: Transaction, tenant_id: str) -> None:
    """Doom pending objects whose writer is gone: an older fence of a job, a finished job, a dead upload."""
    pending = tx.session.execute(
        select(StoredObject.name, StoredObject.owner).where(
            StoredObject.tenant_id == tenant_id, StoredObject.state == "pending"
        )
    ).all()
    # Between the two looks a writer may have published and ended: what it made is live then, and must stay.
    _set_state(tx, [name for name, owner in pending if not _writer_lives(tx, owner)], "doomed", only="pending")


def _writer_lives(tx: Transaction, owner: str) -> bool:
    kind, _, rest = owner.partition(":")
    if kind == "upload":
        upload = tx.session.get(Upload, rest)
        return upload is not None and upload.state in ("open", "receiving") and upload.lease_until >= tx.now
    if kind == _UNTIL:
        return int(rest) >= tx.now
    job_id, _, fence = rest.partition(":")
    job = tx.session.get(Job, int(job_id))
    return job is not None and job.state == "running" and job.fence == int(fence) and (job.lease_until or 0) >= tx.now


def delete_doomed(database: Database, store: ObjectStore, tenant_id: str) -> int:
    """Delete every doomed object, see that it is gone, then forget its row. Returns how many were deleted."""
    with database.read() as tx:
        query = select(StoredObject.name).where(StoredObject.tenant_id == tenant_id, StoredObject.state == "doomed")
        names = list(tx.session.execute(query).scalars())
    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(store.delete, names))  # list: so that what one of them raises is raised here
    gone = [name for name in names if not store.exists(name)]
    for start in range(0, len(gone), 500):
        with database.begin() as tx:
            tx.session.execute(delete(StoredObject).where(StoredObject.name.in_(gone[start : start + 500])))
    return len(gone)


def doomed(tx: Transaction, tenant_id: str) -> list[str]:
    """Return the names of the tenant's objects that wait to be deleted."""
    return _names(tx, tenant_id, StoredObject.state == "doomed")


def pending_features(tx: Transaction, tenant_id: str) -> list[str]:
    """Return the names of feature objects that are being made: what their writers have read may be replaced by now."""
    return _names(tx, tenant_id, and_(StoredObject.state == "pending", StoredObject.kind == "features"))


def live(tx: Transaction, names: Sequence[str]) -> set[str]:
    """Return those of these objects that are in use."""
    query = select(StoredObject.name).where(StoredObject.name.in_(names), StoredObject.state == "live")
    return set(tx.session.execute(query).scalars())


def _names(tx: Transaction, tenant_id: str, condition: ColumnElement[bool]) -> list[str]:
    query = select(StoredObject.name).where(StoredObject.tenant_id == tenant_id, condition)
    return list(tx.session.execute(query).scalars())


def unfinished(tx: Transaction, tenant_id: str) -> list[str]:
    """Return the names of objects that are pending or doomed: what a quiet system does not have."""
    return _names(tx, tenant_id, or_(StoredObject.state == "pending", StoredObject.state == "doomed"))


def strangers(database: Database, store: ObjectStore) -> list[str]:
    """Return objects in the store that no row knows. Always empty, unless somebody else wrote there."""
    found = list(store.names())  # first: a row is always older than its object
    with database.read() as tx:
        known = set(tx.session.execute(select(StoredObject.name)).scalars())
    return [name for name in found if name not in known]
