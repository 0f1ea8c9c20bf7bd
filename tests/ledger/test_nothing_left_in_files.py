"""After a record is removed, no byte of it, open or encrypted, is in any file under the root.

The search reads every file whole, looks for plain text and for ciphertext, and first proves that it finds both.
"""

import random
from pathlib import Path

import pytest

from ledger.keys import KeyRing
from ledger.objects import LocalObjectStore, new_name
from ledger.sealed import seal
from ledger.shards import ShardReader, encode_shard, without

NEEDLE = b"recognisable-payload-of-Anna-4711"
PIECE = 16  # bytes; any piece this long of the removed ciphertext counts as a find


def _files_that_hold(root: Path, pieces: set[bytes]) -> list[Path]:
    found = []
    for path in sorted(root.rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            if any(content[k : k + PIECE] in pieces for k in range(len(content) - PIECE + 1)):
                found.append(path)
    return found


def _pieces(content: bytes) -> set[bytes]:
    return {content[k : k + PIECE] for k in range(len(content) - PIECE + 1)}


@pytest.fixture
def ring(tmp_path: Path) -> KeyRing:
    return KeyRing.open(tmp_path / "keys", random=random.Random(1).randbytes)


def test_a_removed_record_is_in_no_file(tmp_path: Path, ring: KeyRing) -> None:
    source = random.Random(2)
    store = LocalObjectStore(tmp_path / "objects")
    records = [(k, source.randbytes(200)) for k in range(9)]
    records.insert(4, (42, NEEDLE * 8))
    old, new, artifact = (new_name(source.randbytes) for _ in range(3))
    shard = encode_shard(records, ring=ring, context=b"cohort", random=source.randbytes)
    store.write(old, [shard])
    store.write(artifact, [seal(NEEDLE * 8, ring=ring, context=b"model", random=source.randbytes)])
    reader = ShardReader(store, old, ring=ring, context=b"cohort")
    ciphertext = bytes(next(c for i, c in reader.ciphertexts(list(reader.head().places.values())) if i == 42))
    plain, closed = _pieces(NEEDLE * 8), _pieces(ciphertext)

    # The control: the search finds ciphertext where it is, and plain text where somebody was careless.
    assert [path.name for path in _files_that_hold(tmp_path, closed)] == [old]
    assert _files_that_hold(tmp_path, plain) == []
    careless = tmp_path / "objects" / "careless"
    careless.write_bytes(b"before " + NEEDLE + b" after")
    assert _files_that_hold(tmp_path, plain) == [careless]
    careless.unlink()

    smaller = without(reader, [42])
    assert smaller is not None
    store.write(new, [smaller])
    assert [path.name for path in _files_that_hold(tmp_path, closed)] == [old]  # not before the old object goes
    store.delete(old)
    store.delete(artifact)

    assert _files_that_hold(tmp_path, plain | closed) == []
    assert list(store.names()) == [new]
    survivors = dict(ShardReader(store, new, ring=ring, context=b"cohort").read_all())
    assert survivors == {i: payload for i, payload in records if i != 42}
    kept = _pieces(shard[-100:])
    assert [path.name for path in _files_that_hold(tmp_path, kept)] == [new]  # the search still finds what is there


def test_the_data_key_of_a_deleted_artifact_is_in_no_file(tmp_path: Path, ring: KeyRing) -> None:
    source = random.Random(3)
    store = LocalObjectStore(tmp_path / "objects")
    sealed = seal(NEEDLE, ring=ring, context=b"model", random=source.randbytes)
    name = new_name(source.randbytes)
    store.write(name, [sealed])
    wrapped = _pieces(sealed[8:68])
    assert [path.name for path in _files_that_hold(tmp_path, wrapped)] == [name]
    store.delete(name)
    assert _files_that_hold(tmp_path, wrapped) == []
