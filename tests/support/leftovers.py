"""What a quiet installation must not have: objects that nobody needs, unfinished work, promises of dead processes."""

from __future__ import annotations

from sqlalchemy import select

from ledger.ledger import Ledger
from ledger.objects import LocalObjectStore
from ledger.tables import Job, Lease, StoredObject, Upload
from ledger.tables.base import Base


def leftovers(ledger: Ledger) -> list[str]:
    """Return a sentence for each; nothing may be running. An object is needed if some row names it."""
    assert isinstance(ledger.objects, LocalObjectStore)
    drafts = ledger.objects.sweep_temporary()
    stored = set(ledger.objects.names())
    with ledger.database.read() as tx:
        rows = tx.session.execute(select(StoredObject.name, StoredObject.state))
        states = {row.name: row.state for row in rows}
        named = {
            name
            for table in Base.metadata.sorted_tables
            for column in table.columns
            if column.name.endswith(("_object", "object_name"))
            for name in tx.session.execute(select(column).where(column.is_not(None))).scalars()
        }
        jobs = tx.session.execute(
            select(Job.id, Job.kind, Job.state).where(
                Job.state.not_in(("done", "failed")) | Job.lease_until.is_not(None)
            )
        ).all()
        uploads = list(tx.session.execute(select(Upload.id).where(Upload.state.in_(("open", "receiving")))).scalars())
        serving = list(tx.session.execute(select(Lease.process_id).where(Lease.expires_at >= tx.now)).scalars())
    live = {name for name, state in states.items() if state == "live"}
    assert live, "an installation without a single object proves nothing"
    return [
        *(["there are files of writes that were cut short"] if drafts else []),
        *(f"object {name} is {state}" for name, state in states.items() if state != "live"),
        *(f"object {name} is live and lost" for name in live - stored),
        *(f"file {name} is known to no row" for name in stored - states.keys()),
        *(f"object {name} is live, and no row names it" for name in live - named),
        *(f"object {name} is named and not live" for name in named - live),
        *(f"{job.kind} job {job.id} is {job.state} or has a lease" for job in jobs),
        *(f"upload {upload} is unfinished" for upload in uploads),
        *(f"process {process} may still answer" for process in serving),
    ]
