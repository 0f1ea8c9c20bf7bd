"""Shards: every record is bound to its id and its owner, and can leave without the others being opened."""

import hashlib
import random
import struct
from collections.abc import Iterable, Iterator

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import shards
from ledger.errors import ObjectCorrupt, ObjectMissing, ObjectRefused, RecordMissing
from ledger.keys import KeyRing
from ledger.objects import ObjectStore, Written
from ledger.shards import LARGEST_ID, MOST_RECORDS, WINDOW, ShardReader, encode_shard, without

NAME = "0123456789abcdef" * 2
RECORDS = [(7, b"seven"), (3, b""), (LARGEST_ID, b"the last id"), (0, b"zero" * 5)]
PAYLOADS = st.dictionaries(st.integers(0, LARGEST_ID), st.binary(max_size=300), min_size=1, max_size=12)


class MemoryStore:
    """An object store in memory that notes which ranges were asked for."""

    def __init__(self, shard: bytes) -> None:
        self.objects = {NAME: shard}
        self.ranges: list[tuple[int, int]] = []

    def write(self, name: str, parts: Iterable[bytes]) -> Written:
        self.objects[name] = b"".join(parts)
        return Written(len(self.objects[name]), hashlib.sha256(self.objects[name]).hexdigest())

    def read(self, name: str) -> bytes:
        if name not in self.objects:
            raise ObjectMissing(name)
        return self.objects[name]

    def read_range(self, name: str, offset: int, length: int) -> bytes:
        self.ranges.append((offset, length))
        return self.read(name)[offset : offset + length]

    def size(self, name: str) -> int:
        return len(self.read(name))

    def delete(self, name: str) -> None:
        self.objects.pop(name, None)

    def exists(self, name: str) -> bool:
        return name in self.objects

    def names(self) -> Iterator[str]:
        return iter(sorted(self.objects))


@pytest.fixture(scope="module")
def ring(tmp_path_factory: pytest.TempPathFactory) -> KeyRing:
    return KeyRing.open(tmp_path_factory.mktemp("keys"), random=random.Random(1).randbytes)


def _encode(records: list[tuple[int, bytes]], ring: KeyRing, context: bytes = b"cohort 1", seed: int = 2) -> bytes:
    return encode_shard(records, ring=ring, context=context, random=random.Random(seed).randbytes)


def _reader(shard: bytes, ring: KeyRing, context: bytes = b"cohort 1") -> ShardReader:
    store: ObjectStore = MemoryStore(shard)
    return ShardReader(store, NAME, ring=ring, context=context)


def _open_all(shard: bytes, ring: KeyRing, context: bytes = b"cohort 1") -> list[tuple[int, bytes]]:
    return list(_reader(shard, ring, context).read_all())


def _take_apart(shard: bytes) -> tuple[bytes, list[tuple[int, bytes]]]:
    """Header up to the wrapped key, and `(id, ciphertext)`: what anybody can read who has the file."""
    (count,) = struct.unpack_from(">I", shard, 68)
    start = 72 + 16 * count + 32
    parts = []
    for k in range(count):
        i, length = struct.unpack_from(">QQ", shard, 72 + 16 * k)
        parts.append((i, shard[start : start + length]))
        start += length
    return shard[:68], parts


def _put_together(header: bytes, parts: list[tuple[int, bytes]]) -> bytes:
    """What a forger writes: an index that fits, with a correct digest, since that needs no key."""
    head = header + struct.pack(">I", len(parts)) + b"".join(struct.pack(">QQ", i, len(c)) for i, c in parts)
    return head + hashlib.sha256(head).digest() + b"".join(c for _, c in parts)


@settings(max_examples=60, deadline=None)
@given(payloads=PAYLOADS, data=st.data())
def test_records_come_back_alone_together_and_after_others_left(
    ring: KeyRing, payloads: dict[int, bytes], data: st.DataObject
) -> None:
    shard = _encode(list(payloads.items()), ring)
    reader = _reader(shard, ring)
    assert reader.ids() == list(payloads)
    assert dict(reader.read_all()) == payloads
    some = data.draw(st.sets(st.sampled_from(sorted(payloads))))
    assert reader.read(some) == {i: payloads[i] for i in some}
    smaller = without(shard, some)
    assert smaller == without(reader, some)
    if some == set(payloads):
        assert smaller is None
    else:
        assert smaller is not None
        assert _open_all(smaller, ring) == [(i, p) for i, p in payloads.items() if i not in some]


def test_the_tests_forger_writes_the_real_format(ring: KeyRing) -> None:
    shard = _encode(RECORDS, ring)
    assert _put_together(*_take_apart(shard)) == shard


def test_a_record_opens_by_hand_as_the_format_says(ring: KeyRing) -> None:
    """Nonce and associated data both carry the id; stored shards must stay readable."""
    header, parts = _take_apart(_encode(RECORDS, ring))
    cipher = AESGCM(ring.unwrap(header[8:], b"LacShar\x01" + b"cohort 1"))
    for (i, payload), (_, closed) in zip(RECORDS, parts, strict=True):
        nonce, number = i.to_bytes(12, "big"), i.to_bytes(8, "big")
        assert cipher.decrypt(nonce, closed, b"LacShar\x01" + b"cohort 1" + number) == payload


def test_every_changed_byte_is_caught(ring: KeyRing) -> None:
    shard = _encode(RECORDS, ring)
    assert _open_all(shard, ring) == RECORDS
    for position in range(len(shard)):
        for change in (0x01, 0x80):
            changed = bytearray(shard)
            changed[position] ^= change
            with pytest.raises(ObjectCorrupt):
                _open_all(bytes(changed), ring)


def test_a_changed_index_is_caught_before_any_record_is_read_or_removed(ring: KeyRing) -> None:
    shard = _encode(RECORDS, ring)
    for position in [*range(8), *range(68, 72 + 16 * len(RECORDS) + 32)]:
        changed = bytearray(shard)
        changed[position] ^= 0x01
        with pytest.raises(ObjectCorrupt):
            _reader(bytes(changed), ring).ids()
        with pytest.raises(ObjectCorrupt):
            without(bytes(changed), [7])


def test_cut_or_lengthened_shards_are_caught(ring: KeyRing) -> None:
    shard = _encode(RECORDS, ring)
    for changed in [*(shard[:length] for length in range(len(shard))), shard + b"\0"]:
        with pytest.raises(ObjectCorrupt):
            _open_all(changed, ring)
        with pytest.raises(ObjectCorrupt):
            without(changed, [7])


def test_a_shard_cut_after_its_index_was_read_is_caught(ring: KeyRing) -> None:
    shard = _encode(RECORDS, ring)
    store = MemoryStore(shard)
    reader = ShardReader(store, NAME, ring=ring, context=b"cohort 1")
    reader.ids()
    store.objects[NAME] = shard[:-1]
    with pytest.raises(ObjectCorrupt, match="short"):
        reader.read([0])
    store.delete(NAME)
    with pytest.raises(ObjectMissing):
        reader.read([0])


def test_a_ciphertext_cannot_pose_as_another_record(ring: KeyRing) -> None:
    header, parts = _take_apart(_encode([(1, b"Anna"), (2, b"Ben")], ring))
    (_, first), (_, second) = parts
    for forged in ([(1, second), (2, first)], [(1, first), (9, second)], [(1, first), (2, first)]):
        with pytest.raises(ObjectCorrupt):
            _open_all(_put_together(header, forged), ring)


def test_a_ciphertext_cannot_move_to_another_shard_or_owner(ring: KeyRing) -> None:
    mine, parts = _take_apart(_encode([(1, b"Anna")], ring, seed=2))
    same_owner, _ = _take_apart(_encode([(1, b"Anna")], ring, seed=3))
    other_owner, _ = _take_apart(_encode([(1, b"Anna")], ring, context=b"cohort 2", seed=4))
    with pytest.raises(ObjectCorrupt):
        _open_all(_put_together(same_owner, parts), ring)
    with pytest.raises(ObjectCorrupt):
        _open_all(_put_together(other_owner, parts), ring, context=b"cohort 2")
    with pytest.raises(ObjectCorrupt):
        _open_all(_put_together(mine, parts), ring, context=b"cohort 2")
    assert _open_all(_put_together(mine, parts), ring) == [(1, b"Anna")]  # the control


def test_removing_needs_no_key_and_copies_the_other_ciphertexts(ring: KeyRing) -> None:
    shard = _encode(RECORDS, ring)
    smaller = without(shard, [3])
    assert smaller is not None
    (header, parts), (same_header, rest) = _take_apart(shard), _take_apart(smaller)
    assert same_header == header
    assert rest == [(i, c) for i, c in parts if i != 3]
    assert without(smaller, [7, LARGEST_ID, 0]) is None


def test_records_that_are_not_there_are_named(ring: KeyRing) -> None:
    shard = _encode(RECORDS, ring)
    with pytest.raises(RecordMissing) as caught:
        without(shard, [7, 8])
    assert caught.value.record_id == 8
    with pytest.raises(RecordMissing):
        _reader(shard, ring).read([8])
    assert without(shard, []) == shard
    assert _reader(shard, ring).read([]) == {}


@pytest.mark.parametrize(
    ("records", "why"),
    [
        ([], "1 to"),
        ([(1, b"a"), (2, b"b"), (1, b"c")], "twice"),
        ([(-1, b"a")], "between"),
        ([(LARGEST_ID + 1, b"a")], "between"),
        ([(k, b"") for k in range(MOST_RECORDS + 1)], "1 to"),
    ],
    ids=["none", "duplicate", "negative", "too large", "too many"],
)
def test_what_cannot_be_a_shard_is_refused(ring: KeyRing, records: list[tuple[int, bytes]], why: str) -> None:
    with pytest.raises(ObjectRefused, match=why):
        _encode(records, ring)


def test_a_payload_over_the_librarys_limit_is_refused(ring: KeyRing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "LARGEST_RECORD", 3)
    with pytest.raises(ObjectRefused, match="more than 3"):
        _encode([(1, b"four")], ring)


def test_reading_one_record_touches_only_its_range(ring: KeyRing) -> None:
    records = [(k, bytes([k]) * 10_000) for k in range(20)]
    store = MemoryStore(_encode(records, ring))
    reader = ShardReader(store, NAME, ring=ring, context=b"cohort 1")
    reader.ids()
    store.ranges.clear()
    assert reader.read([11, 4, 5]) == {k: bytes([k]) * 10_000 for k in (4, 5, 11)}
    assert [length for _, length in store.ranges] == [2 * 10_016, 10_016]


def test_reading_all_holds_one_window_at_a_time(ring: KeyRing) -> None:
    records = [(k, bytes(WINDOW // 3)) for k in range(8)]
    store = MemoryStore(_encode(records, ring))
    assert list(ShardReader(store, NAME, ring=ring, context=b"cohort 1").read_all()) == records
    assert max(length for _, length in store.ranges) <= WINDOW
    assert len(store.ranges) == 2 + 4  # header, index, and two records a window


@settings(max_examples=200, deadline=None)
@given(entries=st.lists(st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1)), max_size=5), tail=st.binary())
def test_a_hostile_index_is_refused_without_reading_what_it_claims(
    ring: KeyRing, entries: list[tuple[int, int]], tail: bytes
) -> None:
    header, _ = _take_apart(_encode(RECORDS, ring))
    head = header + struct.pack(">I", len(entries)) + b"".join(struct.pack(">QQ", *entry) for entry in entries)
    store = MemoryStore(head + hashlib.sha256(head).digest() + tail)
    with pytest.raises(ObjectCorrupt):
        list(ShardReader(store, NAME, ring=ring, context=b"cohort 1").read_all())
    assert max(length for _, length in store.ranges) <= max(1000, len(tail))


@pytest.mark.parametrize("count", [0, MOST_RECORDS + 1, 2**32 - 1])
def test_a_hostile_count_is_refused_before_the_index_is_read(ring: KeyRing, count: int) -> None:
    header, _ = _take_apart(_encode(RECORDS, ring))
    store = MemoryStore(header + struct.pack(">I", count) + bytes(100))
    with pytest.raises(ObjectCorrupt, match="claims"):
        ShardReader(store, NAME, ring=ring, context=b"cohort 1").ids()
    assert store.ranges == [(0, 72)]


@settings(max_examples=200, deadline=None)
@given(noise=st.binary(max_size=400), with_magic=st.booleans())
def test_arbitrary_bytes_are_no_shard(ring: KeyRing, noise: bytes, with_magic: bool) -> None:
    content = shards.MAGIC + noise if with_magic else noise
    with pytest.raises(ObjectCorrupt):
        _open_all(content, ring)
    with pytest.raises(ObjectCorrupt):
        without(content, [])


def test_an_id_twice_in_the_index_is_refused(ring: KeyRing) -> None:
    header, parts = _take_apart(_encode(RECORDS, ring))
    with pytest.raises(ObjectCorrupt, match="impossible"):
        without(_put_together(header, [parts[0], parts[0]]), [7])
