"""The ledger as a whole: its database, its objects and its keys, opened together and handed in where needed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ledger.database import Clock, Database, Random, open_engine
from ledger.keys import KeyRing
from ledger.objects import ObjectStore, open_store
from ledger.settings import LedgerSettings


@dataclass(frozen=True, slots=True)
class Ledger:
    """Everything that is stored. `shard_records` is how many records share one object."""

    database: Database
    objects: ObjectStore
    ring: KeyRing
    shard_records: int

    def close(self) -> None:
        """Close the database's connections."""
        self.database.engine.dispose()


def open_ledger(settings: LedgerSettings, *, clock: Clock, random: Random, verify_store: bool = True) -> Ledger:
    """Open (and, for keys and folders, make on first use) what `settings` name. Does not migrate the database.

    Without `verify_store` a remote object store is asked only when it is first used.
    Raises KeyUnavailable, StoreUnsuitable, StoreFailed.
    """
    data = Path(settings.data_dir)
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    objects = open_store(settings.objects_url, data / "objects")
    if verify_store:
        objects.verify()
    return Ledger(
        database=Database(
            open_engine(settings.resolved_database_url(), statement_s=settings.statement_s), clock, random
        ),
        objects=objects,
        ring=KeyRing.open(Path(settings.key_dir) if settings.key_dir else data / "keys", random=random),
        shard_records=settings.shard_records,
    )
