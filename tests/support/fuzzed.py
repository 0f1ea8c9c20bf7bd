"""A small Lacuna with a model and a forgotten person, served from this process, to be asked all sorts of things."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import update

from ledger import tenants
from ledger.tables import ApiKey
from support.serving import serving
from support.world import World, make_world, person


@dataclass(frozen=True)
class FuzzedService:
    """Its address, a key that may do everything, and one that may only predict."""

    world: World
    url: str
    key: str
    narrow_key: str

    def revive_key(self) -> None:
        """Make every key valid again that has been ended."""
        with self.world.ledger.database.begin() as tx:
            tx.session.execute(update(ApiKey).values(revoked_at=None, expires_at=None))


@contextmanager
def fuzzed_service(folder: Path) -> Iterator[FuzzedService]:
    """Serve a Lacuna with two people, a model of two versions and a completed request. Nobody works meanwhile."""
    world = make_world(folder / "world", f"sqlite:///{folder / 'ledger.sqlite'}", core_people=6)
    try:
        world.upload(person("ada"), person("bob"))
        world.register()
        world.work()
        world.forget("ada")
        world.work()
        with serving(world, folder / "data") as (url, key):
            with world.ledger.database.begin() as tx:
                narrow = tenants.create_key(tx, world.tenant_id, "narrow", ("predict",))
            yield FuzzedService(world, url, key, narrow)
    finally:
        world.ledger.close()
