"""What every object store does: bytes under random names, written whole or not at all.

A name says nothing about the content, and every object has one owner. Two equal contents are two objects,
so deleting one never takes the other away.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from ledger.errors import InvalidIdentifier

NAME = re.compile(r"[0-9a-f]{32,64}")


@dataclass(frozen=True)
class Written:
    """What was stored: size in bytes and SHA-256 (64 hex digits) of the stored, that is encrypted, bytes."""

    size: int
    sha256: str


def new_name(random: Callable[[int], bytes]) -> str:
    """A fresh object name: 128 random bits as 32 hex digits."""
    return random(16).hex()


class ObjectStore(Protocol):
    """Named bytes. Names are 32 to 64 lower-case hex digits; anything else raises InvalidIdentifier."""

    def verify(self) -> None:
        """See that the store is there and lets go of what is deleted. Writes nothing.

        Raises StoreUnsuitable: it would keep deleted objects; StoreFailed: it cannot be reached.
        """
        ...

    def sweep_temporary(self) -> int:
        """Remove what crashed writers left behind, where no name leads to it; returns how many files."""
        ...

    def write(self, name: str, parts: Iterable[bytes]) -> Written:
        """Store the joined parts, durable on return. An object of that name is replaced in one step.

        On any failure nothing of the new object remains. Raises StoreFull, StoreReadOnly, StoreFailed.
        """
        ...

    def read(self, name: str) -> bytes:
        """The whole object. Raises ObjectMissing, StoreFailed."""
        ...

    def read_range(self, name: str, offset: int, length: int) -> bytes:
        """At most `length` bytes from `offset`; fewer where the object ends. Raises ObjectMissing, StoreFailed."""
        ...

    def size(self, name: str) -> int:
        """Length in bytes. Raises ObjectMissing, StoreFailed."""
        ...

    def delete(self, name: str) -> None:
        """Remove the object, durable on return. Deleting what is not there is no error. Raises StoreFailed."""
        ...

    def exists(self, name: str) -> bool:
        """Whether the object is there. Raises StoreFailed when that cannot be known."""
        ...

    def names(self) -> Iterator[str]:
        """Every object's name, sorted. Unfinished writes are not among them."""
        ...


def require_name(name: str) -> None:
    """Raise InvalidIdentifier unless `name` is an object's name."""
    if not NAME.fullmatch(name):
        raise InvalidIdentifier("object name", "it is not 32 to 64 lower-case hex digits")
