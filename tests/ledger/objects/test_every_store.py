"""What holds for every object store, on the local disk and in a bucket."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ledger.errors import InvalidIdentifier, ObjectMissing
from ledger.objects import new_name

NAME = "0123456789abcdef" * 2
OTHER = "fedcba9876543210" * 2
LARGE = 40 * 2**20  # bytes: several requests to S3


def test_what_was_written_is_read_back(kind: Any) -> None:
    store, content = kind.store, random.Random(1).randbytes(100_000)
    store.verify()
    written = store.write(NAME, (content[k : k + 999] for k in range(0, len(content), 999)))
    assert (written.size, written.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert store.read(NAME) == content
    assert store.size(NAME) == len(content)
    assert store.read_range(NAME, 10, 20) == content[10:30]
    assert store.read_range(NAME, 7, 0) == b""
    assert store.read_range(NAME, len(content) - 5, 2**62) == content[-5:]  # bounded by the object
    assert store.read_range(NAME, len(content), 10) == b""
    assert store.read_range(NAME, len(content) + 5, 10) == b""
    assert list(store.names()) == [NAME]
    assert list(kind.raw().values()) == [content]
    with pytest.raises(ValueError, match="negative"):
        store.read_range(NAME, -1, 10)


def test_a_large_object_is_one_object(kind: Any) -> None:
    content = random.Random(2).randbytes(LARGE)
    written = kind.store.write(NAME, (content[k : k + 2**20 + 7] for k in range(0, LARGE, 2**20 + 7)))
    assert (written.size, written.sha256) == (LARGE, hashlib.sha256(content).hexdigest())
    assert kind.store.read(NAME) == content
    assert kind.store.read_range(NAME, LARGE // 2, 2**20) == content[LARGE // 2 : LARGE // 2 + 2**20]
    assert list(kind.raw().values()) == [content]
    kind.store.delete(NAME)
    assert kind.raw() == {}


def test_an_empty_object_is_an_object(kind: Any) -> None:
    assert kind.store.write(NAME, []).size == 0
    assert kind.store.exists(NAME)
    assert kind.store.read(NAME) == b""
    assert kind.store.read_range(NAME, 0, 5) == b""


def test_writing_again_replaces_in_one_step(kind: Any) -> None:
    kind.store.write(NAME, [b"first"])
    with ThreadPoolExecutor(4) as pool:
        contents = [bytes([k]) * 10_000 for k in range(16)]
        writing = [pool.submit(kind.store.write, NAME, [content]) for content in contents]
        seen = [kind.store.read(NAME) for _ in range(10)]
    assert all(done.result().size == 10_000 for done in writing)
    assert all(content in [b"first", *contents] for content in seen)
    assert kind.store.read(NAME) in contents
    assert list(kind.store.names()) == [NAME]
    assert kind.store.sweep_temporary() == 0


def test_deleting_is_idempotent_and_takes_nothing_else(kind: Any) -> None:
    kind.store.write(NAME, [b"x"])
    kind.store.write(NAME + "0", [b"longer"])  # a name that begins like the other
    kind.store.write(OTHER, [b"kept"])
    for _ in range(2):
        kind.store.delete(NAME)
        assert not kind.store.exists(NAME)
    for missing in (kind.store.read, kind.store.size, lambda name: kind.store.read_range(name, 0, 1)):
        with pytest.raises(ObjectMissing):
            missing(NAME)
    assert sorted(kind.raw().values()) == [b"kept", b"longer"]


@pytest.mark.parametrize(
    "name",
    [
        "",
        "abc",
        "../" * 8 + "etc/passwd",
        "/etc/passwd",
        NAME.upper(),
        NAME + "\n",
        "g" * 32,
        "0" * 65,
        NAME[:-1] + "/",
        NAME[:-1] + "\0",
        NAME[:-1] + "٣",  # a digit, but not one of ours
    ],
)
def test_names_that_are_not_random_hex_are_refused(kind: Any, name: str) -> None:
    store = kind.store
    for use in (store.read, store.delete, store.exists, store.size, lambda n: store.write(n, [b"x"])):
        with pytest.raises(InvalidIdentifier):
            use(name)
    assert kind.raw() == {}


def test_fresh_names_are_valid(kind: Any) -> None:
    assert len({new_name(random.Random(seed).randbytes) for seed in range(100)}) == 100
    assert not kind.store.exists(new_name(os.urandom))


def test_names_are_sorted_and_strangers_are_not_listed(kind: Any) -> None:
    for name in ("notes.txt", f"{NAME[:2]}/{NAME[2:4]}/readme", NAME.upper()):
        kind.put(name, b"of another program")
    names = sorted(new_name(random.Random(seed).randbytes) for seed in range(20))
    for name in reversed(names):
        kind.store.write(name, [b"x"])
    assert list(kind.store.names()) == names
    for name in names:
        kind.store.delete(name)
    assert set(kind.raw().values()) == {b"of another program"}


@pytest.mark.parametrize("sent", [4, LARGE])
def test_a_failing_source_leaves_nothing(kind: Any, sent: int) -> None:
    def source() -> Iterator[bytes]:
        for _ in range(4):
            yield bytes(sent // 4)
        raise RuntimeError("the client hung up")

    with pytest.raises(RuntimeError, match="hung up"):
        kind.store.write(NAME, source())
    assert kind.raw() == {}
    assert not kind.store.exists(NAME)


def test_nobody_sees_an_object_before_it_is_whole(kind: Any) -> None:
    checks: list[Callable[[], bool]] = [lambda: kind.store.exists(NAME), lambda: NAME in kind.store.names()]

    def source() -> Iterator[bytes]:
        for _ in range(4):
            yield bytes(LARGE // 4)
            assert not any(check() for check in checks)

    kind.store.write(NAME, source())
    assert all(check() for check in checks)
