"""What an embedded server does before it answers for the first time: tables, a tenant, a key."""

from __future__ import annotations

import os
import time

from sqlalchemy import select

from ledger.ledger import Ledger, open_ledger
from ledger.migrate import require_current, upgrade
from ledger.settings import LedgerSettings
from ledger.tables import ApiKey, Tenant
from ledger.tenants import create_key, create_tenant, require_keys

FIRST_TENANT = "default"


def utc_microseconds() -> int:
    """Return the time of this machine's clock."""
    return time.time_ns() // 1000


def prepare(settings: LedgerSettings) -> str | None:
    """Get the database ready. If nobody can use it yet, add a tenant and return a key for everything.

    An embedded database is brought up to date; others are only checked. Raises MigrationNeeded, KeyUnavailable.
    """
    ledger = open_ledger(settings, clock=utc_microseconds, random=os.urandom)
    try:
        if ledger.database.is_sqlite:
            upgrade(ledger.database.engine)
        else:
            require_current(ledger.database.engine)
        return _first_key(ledger)
    finally:
        ledger.database.engine.dispose()


def _first_key(ledger: Ledger) -> str | None:
    with ledger.database.begin() as tx:
        require_keys(tx, ledger.ring)
        if tx.session.execute(select(ApiKey.id).limit(1)).first() is not None:
            return None
        tenant = tx.session.execute(select(Tenant).where(Tenant.name == FIRST_TENANT)).scalar_one_or_none()
        if tenant is None:
            tenant = create_tenant(tx, ledger.ring, FIRST_TENANT)
        return create_key(tx, tenant.id, "first key")
