"""A ledger whose object store calls a function right before each write: what others do in that moment."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from ledger.ledger import Ledger
from ledger.objects import ObjectStore, Written
from support.world import World


@dataclass
class Interrupted:
    """An object store that calls a function right before each write."""

    store: ObjectStore
    before: Callable[[], object]

    def write(self, name: str, parts: Iterable[bytes]) -> Written:
        self.before()
        return self.store.write(name, parts)

    def __getattr__(self, name: str) -> object:
        return getattr(self.store, name)


def interrupted(world: World, before: Callable[[], object]) -> Ledger:
    """Return the world's ledger with such a store."""
    return replace(world.ledger, objects=Interrupted(world.ledger.objects, before))  # type: ignore[arg-type]  # has all of the protocol
