"""Taking back what crashed processes left unfinished."""

from __future__ import annotations

from sqlalchemy import select

from ledger import dry_runs, due_soon, inventory, receipts, retention, uploads
from ledger.ledger import Ledger
from ledger.tables import Tenant
from ledger.webhooks import deliveries


def sweep(ledger: Ledger) -> None:
    """Take back uploads whose receiver died, objects whose writer died, and files of writes that were cut short.

    Delete what dry runs answered more than an hour ago, and receipts that have expired. Safe to run from several
    processes at once. File what retention periods ask for, and tell which deadlines come near.
    """
    ledger.objects.sweep_temporary()
    uploads.abandon_expired(ledger)
    with ledger.database.begin() as tx:
        expired = dry_runs.drop_expired(tx) + receipts.drop_expired(tx)
        tenants = list(tx.session.execute(select(Tenant.id)).scalars())
        for tenant_id in tenants:
            inventory.doom_abandoned(tx, tenant_id)
    retention.file_due(ledger.database)
    deliveries.drop_old(ledger.database)
    for tenant_id in tenants:
        due_soon.tell(ledger.database, tenant_id)
        with ledger.database.read() as tx:
            names = inventory.unfinished(tx, tenant_id)
        if names:
            inventory.delete_doomed(ledger.database, ledger.objects, tenant_id)
    if expired:
        ledger.database.checkpoint()  # SQLite's log still holds them
