"""Shards: many records of one owner in one object, each encrypted on its own.

    magic (8) | wrapped data key (60) | count (4) | index: count x (record id (8), length (8))
    | SHA-256 of all of the above (32) | ciphertexts with their tags, in the order of the index, without gaps

Numbers are unsigned and big-endian; `length` is that of the ciphertext with its tag. Where a ciphertext starts
follows from the lengths before it, so entries can neither overlap nor leave gaps.

A record's associated data is the owner's context and its id: a ciphertext put under another id or into another
shard does not open. Its nonce is its id, which never repeats under one data key, since every shard gets a new key and
ids are unique within it. So a shard can be written again without some records by copying ciphertexts, and no
decryption. The SHA-256 needs no key for the same reason; it catches accidents in the index. That records were left out
by somebody who can write to the store, or put back, is caught one level up, by the object's digest in the ledger:
whoever reads a whole shard reads it by `ledger.inventory.read` and hands the bytes in.
"""

import hashlib
import struct
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ledger.errors import KeyUnavailable, ObjectCorrupt, ObjectRefused, RecordMissing
from ledger.keys import KEY_SIZE, TAG_SIZE, WRAPPED_SIZE, KeyRing, RandomBytes

MAGIC = b"LacShar\x01"  # the last byte is the version of the format
LARGEST_ID = 2**63 - 1  # so that it fits a signed column
MOST_RECORDS = 2**16  # bounds what a hostile index makes us read: 1 MiB
LARGEST_RECORD = 2**31 - 1 - TAG_SIZE  # bytes; the library encrypts no more in one piece
WINDOW = 4 * 2**20  # bytes fetched at once where neighbouring records are wanted

_COUNT = struct.Struct(">I")
_ENTRY = struct.Struct(">QQ")
_FIXED = len(MAGIC) + WRAPPED_SIZE + _COUNT.size
_DIGEST = 32


class _Place(NamedTuple):
    """Where one record's ciphertext lies in the object, in bytes. A tuple: an index makes thousands of them."""

    record_id: int
    start: int
    length: int

    @property
    def end(self) -> int:
        return self.start + self.length


def encode_shard(records: Sequence[tuple[int, bytes]], *, ring: KeyRing, context: bytes, random: RandomBytes) -> bytes:
    """Encrypt records `(id, payload)` of the owner named by `context` into one shard.

    Raises ObjectRefused: no record, too many, an id twice or outside 0 .. 2^63 - 1, or a payload above 2 GiB.
    """
    _check_encodable(records)
    key = random(KEY_SIZE)
    cipher = AESGCM(key)
    closed = [(i, cipher.encrypt(_nonce(i), payload, _associated(context, i))) for i, payload in records]
    return _assemble(ring.wrap(key, MAGIC + context), closed)


class Ranges(Protocol):
    """What a shard is read from: an object store, or one object's bytes in memory."""

    def read_range(self, name: str, offset: int, length: int) -> bytes:
        """At most `length` bytes from `offset`."""
        ...

    def size(self, name: str) -> int:
        """Length of the whole object in bytes."""
        ...


@dataclass(frozen=True)
class InMemory:
    """One object's bytes as the only object of a store."""

    content: bytes

    def read_range(self, _name: str, offset: int, length: int) -> bytes:
        """See Ranges."""
        return self.content[offset : offset + length]

    def size(self, _name: str) -> int:
        """See Ranges."""
        return len(self.content)


@dataclass
class ShardReader:
    """Reads records of one stored shard, fetching only the ranges it needs. The index is fetched once.

    Every method raises ObjectMissing when the object is gone, and ObjectCorrupt when what it read is not what
    `encode_shard` or `without` wrote for this context.
    """

    store: Ranges
    name: str
    ring: KeyRing = field(kw_only=True)
    context: bytes = field(kw_only=True)
    _head: "_Head | None" = field(default=None, init=False, repr=False)

    def ids(self) -> list[int]:
        """The ids of the records, in the order in which they were written."""
        return list(self.head().places)

    def read(self, ids: Collection[int]) -> dict[int, bytes]:
        """The payloads of these records. Raises RecordMissing."""
        head = self.head()
        return dict(self._decrypt(_pick(head, ids)))

    def read_all(self) -> Iterator[tuple[int, bytes]]:
        """Every record `(id, payload)` in order. Memory holds one window, or one record if that is larger."""
        yield from self._decrypt(list(self.head().places.values()))

    def head(self) -> "_Head":
        """The checked header and index."""
        if self._head is None:
            fixed = self.store.read_range(self.name, 0, _FIXED)
            rest = self.store.read_range(self.name, _FIXED, _index_size(self.name, fixed))
            self._head = _parse_head(self.name, fixed + rest, self.store.size(self.name))
        return self._head

    def ciphertexts(self, places: Sequence[_Place]) -> Iterator[tuple[int, memoryview]]:
        """The stored bytes of these records, neighbours fetched together."""
        for run in _runs(places):
            first, last = run[0], run[-1]
            content = memoryview(self.store.read_range(self.name, first.start, last.end - first.start))
            if len(content) != last.end - first.start:
                raise ObjectCorrupt(self.name, "it is cut short")
            for place in run:
                yield place.record_id, content[place.start - first.start : place.end - first.start]

    def _decrypt(self, places: Sequence[_Place]) -> Iterator[tuple[int, bytes]]:
        try:
            key = self.ring.unwrap(self.head().wrapped, MAGIC + self.context)
        except KeyUnavailable as problem:
            raise ObjectCorrupt(self.name, problem.why) from problem
        cipher = AESGCM(key)
        for i, closed in self.ciphertexts(places):
            try:
                yield i, cipher.decrypt(_nonce(i), closed, _associated(self.context, i))
            except InvalidTag as problem:
                raise ObjectCorrupt(self.name, f"record {i} was changed or moved") from problem


def without(shard: bytes | ShardReader, ids: Collection[int]) -> bytes | None:
    """The shard without these records, by copying the other ciphertexts; None when nothing is left.

    The data key stays the same, so a copy of the old shard kept elsewhere still opens: deleting the old object is
    what removes the records. Raises RecordMissing, ObjectCorrupt.
    """
    head = shard.head() if isinstance(shard, ShardReader) else _parse_head("in memory", shard, len(shard))
    _pick(head, ids)
    gone = set(ids)
    kept = [place for i, place in head.places.items() if i not in gone]
    if not kept:
        return None
    if isinstance(shard, ShardReader):
        closed = list(shard.ciphertexts(kept))
    else:
        view = memoryview(shard)
        closed = [(place.record_id, view[place.start : place.end]) for place in kept]
    return _assemble(head.wrapped, closed)


@dataclass(frozen=True)
class _Head:
    """The checked beginning of a shard: the wrapped data key, and the places of the records by id."""

    wrapped: bytes
    places: dict[int, _Place]


def _check_encodable(records: Sequence[tuple[int, bytes]]) -> None:
    if not 0 < len(records) <= MOST_RECORDS:
        raise ObjectRefused(f"a shard holds 1 to {MOST_RECORDS} records, not {len(records)}")
    seen: set[int] = set()
    for i, payload in records:
        if not 0 <= i <= LARGEST_ID:
            raise ObjectRefused(f"record id {i} is not between 0 and 2^63 - 1")
        if i in seen:
            raise ObjectRefused(f"record {i} is there twice")
        if len(payload) > LARGEST_RECORD:
            raise ObjectRefused(f"record {i} has {len(payload)} bytes, more than {LARGEST_RECORD}")
        seen.add(i)


def _assemble(wrapped: bytes, closed: Sequence[tuple[int, bytes | memoryview]]) -> bytes:
    index = b"".join(_ENTRY.pack(i, len(content)) for i, content in closed)
    head = MAGIC + wrapped + _COUNT.pack(len(closed)) + index
    return b"".join((head, hashlib.sha256(head).digest(), *(content for _, content in closed)))


def _index_size(name: str, fixed: bytes) -> int:
    """Bytes of index and digest, from the header of fixed size."""
    if len(fixed) < _FIXED or not fixed.startswith(MAGIC):
        raise ObjectCorrupt(name, "it is no shard, or cut short")
    (count,) = _COUNT.unpack_from(fixed, _FIXED - _COUNT.size)
    if not 0 < count <= MOST_RECORDS:
        raise ObjectCorrupt(name, f"it claims {count} records")
    return int(count) * _ENTRY.size + _DIGEST


def _parse_head(name: str, content: bytes, size: int) -> _Head:
    """Check and read header and index at the beginning of `content`; `size` is that of the whole shard in bytes."""
    start = _FIXED + _index_size(name, content[:_FIXED])
    head, digest = content[: start - _DIGEST], content[start - _DIGEST : start]
    if hashlib.sha256(head).digest() != digest:
        raise ObjectCorrupt(name, "its index was changed or is cut short")
    places: dict[int, _Place] = {}
    for i, length in _ENTRY.iter_unpack(head[_FIXED:]):
        if i > LARGEST_ID or i in places or not TAG_SIZE <= length <= LARGEST_RECORD + TAG_SIZE:
            raise ObjectCorrupt(name, f"its index has an impossible entry, record {i} of {length} bytes")
        places[i] = _Place(i, start, length)
        start += length
    if start != size:
        raise ObjectCorrupt(name, f"it has {size} bytes where its index says {start}")
    return _Head(head[len(MAGIC) : len(MAGIC) + WRAPPED_SIZE], places)


def _pick(head: _Head, ids: Collection[int]) -> list[_Place]:
    """The places of these ids in the order of the shard. Raises RecordMissing."""
    for i in ids:
        if i not in head.places:
            raise RecordMissing(i)
    return sorted({head.places[i] for i in ids}, key=lambda place: place.start)


def _runs(places: Sequence[_Place]) -> Iterator[Sequence[_Place]]:
    """Split ascending places where they are not neighbours, or where a run would exceed the window."""
    first = 0
    for k, (before, after) in enumerate(pairwise(places), start=1):
        if before.end != after.start or after.end - places[first].start > WINDOW:
            yield places[first:k]
            first = k
    if places:
        yield places[first:]


def _nonce(record_id: int) -> bytes:
    return record_id.to_bytes(12, "big")


def _associated(context: bytes, record_id: int) -> bytes:
    """Unambiguous, since the id has a fixed length."""
    return MAGIC + context + record_id.to_bytes(8, "big")
