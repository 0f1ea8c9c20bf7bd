"""Who waits in PostgreSQL: so that a test goes on once another transaction stands still, and not after a while."""

from __future__ import annotations

from ledger.database import Database

WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


def waiters(database: Database) -> int:
    """Count the database's sessions that wait for a lock."""
    with database.engine.connect() as connection:
        return int(connection.exec_driver_sql(WAITING).scalar_one())
