"""The log of an installation in which nothing has happened yet, and what its checkpoint says later."""

from __future__ import annotations

import os
from pathlib import Path

from sqlalchemy import select
from support.world import clock_us

from evidence.checkpoint import Checkpoint
from ledger import events
from ledger.ledger import open_ledger
from ledger.log.sequencer import note_key, sequence
from ledger.log.verify import verify_log
from ledger.migrate import upgrade
from ledger.settings import LedgerSettings
from ledger.tables import LogState, Tenant
from ledger.tenants import create_tenant


def test_a_checkpoint_from_before_the_first_event_accuses_nobody(database_url: str, tmp_path: Path) -> None:
    """A reconciler that starts on a new installation signs the empty log; the entries that follow were not deleted."""
    settings = LedgerSettings(data_dir=tmp_path / "data", database_url=database_url)
    ledger = open_ledger(settings, clock=clock_us, random=os.urandom)
    upgrade(ledger.database.engine)
    for count in (0, 3):
        with ledger.database.begin() as tx:
            tenant = tx.session.execute(select(Tenant.id)).scalar() or create_tenant(tx, ledger.ring, "default").id
            for i in range(count):
                events.append(tx, tenant, "test.happened", f"{i:032x}", number=i)
        assert sequence(ledger.database, ledger.ring).size == count
        with ledger.database.read() as tx:
            found = verify_log(tx, ledger.ring.public_key_raw())
            state = tx.session.get_one(LogState, 1)
            other = Checkpoint(state.origin, 0, bytes(32)).signed(note_key(state.origin, ledger.ring), ledger.ring.sign)
            doubted = verify_log(tx, ledger.ring.public_key_raw(), since=other).findings
        assert (found.findings, found.size) == ([], count)
        assert doubted == ["your checkpoint does not fit: a log without entries has another root"]
    assert found.checkpoints == 2
    ledger.close()
