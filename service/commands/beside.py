"""What commands share that work in the database itself, beside the service."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import select

from ledger.database import Transaction
from ledger.errors import NotFound
from ledger.ledger import Ledger, open_ledger
from ledger.migrate import require_current
from ledger.tables import Tenant
from ledger.tenants import require_keys
from service.commands.common import load_settings
from service.first_start import utc_microseconds

TenantName = Annotated[str, typer.Option(help="Of which tenant.")]


@contextmanager
def beside_service(data_dir: Path | None, settings: Path | None) -> Iterator[Ledger]:
    """Open database and keys beside a service that may be running. Raises MigrationNeeded, KeyUnavailable."""
    loaded = load_settings(data_dir, settings)
    ledger = open_ledger(loaded, clock=utc_microseconds, random=os.urandom, verify_store=False)
    try:
        require_current(ledger.database.engine)
        with ledger.database.read() as tx:
            require_keys(tx, ledger.ring)
        yield ledger
    finally:
        ledger.database.engine.dispose()


def tenant_named(tx: Transaction, name: str) -> Tenant:
    """Return the tenant of that name. Raises NotFound."""
    found = tx.session.execute(select(Tenant).where(Tenant.name == name)).scalar_one_or_none()
    if found is None:
        raise NotFound("tenant", name)
    return found
