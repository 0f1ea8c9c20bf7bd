"""Waiting, for a while, for others to let go of what is to be gone: writers of features, readers of the database."""

from __future__ import annotations

from ledger import inventory
from workers.deps import Deps
from workers.errors import StillServed, StillWritten

WAIT_US = 20_000_000  # how long one run waits for API processes and readers before it steps aside
POLL_S = 0.005


def wait_for_writers(deps: Deps, tenant_id: str) -> list[str]:
    """Wait for feature objects that are being made from shards as they were; return their names. Raises StillWritten.

    What is booked after this has read the replaced shards.
    """
    with deps.ledger.database.read() as tx:
        names = inventory.pending_features(tx, tenant_id)
    give_up = deps.clock_us() + WAIT_US
    while names:
        with deps.ledger.database.begin() as tx:
            inventory.doom_abandoned(tx, tenant_id)
            left = set(names) & set(inventory.pending_features(tx, tenant_id))
            live = inventory.live(tx, names)
        if not left:
            return [name for name in names if name not in live]
        if deps.clock_us() > give_up:
            raise StillWritten(len(left))
        deps.wait_s(POLL_S)
    return []


def cut_log(deps: Deps) -> None:
    """Cut SQLite's log, which may still hold deleted rows, waiting for readers. Raises StillServed."""
    give_up = deps.clock_us() + WAIT_US
    while not deps.ledger.database.checkpoint():
        if deps.clock_us() > give_up:
            raise StillServed(1)
        deps.wait_s(POLL_S)
