"""Sealed objects open only whole, unchanged, and for their owner."""

import random
from pathlib import Path

import pytest

from ledger import sealed
from ledger.errors import ObjectCorrupt, ObjectRefused
from ledger.keys import KeyRing
from ledger.sealed import seal, unseal

CONTENT = b"weights of version 7"


@pytest.fixture(scope="module")
def ring(tmp_path_factory: pytest.TempPathFactory) -> KeyRing:
    return KeyRing.open(tmp_path_factory.mktemp("keys"), random=random.Random(1).randbytes)


def _seal(content: bytes, ring: KeyRing, seed: int = 2) -> bytes:
    return seal(content, ring=ring, context=b"model 1", random=random.Random(seed).randbytes)


@pytest.mark.parametrize("content", [b"", CONTENT, random.Random(3).randbytes(100_001)], ids=len)
def test_what_was_sealed_opens(ring: KeyRing, content: bytes) -> None:
    assert unseal(_seal(content, ring), ring=ring, context=b"model 1") == content


def test_equal_contents_look_different(ring: KeyRing) -> None:
    first, second = _seal(CONTENT, ring, seed=4), _seal(CONTENT, ring, seed=5)
    assert CONTENT not in first
    assert first[sealed.HEADER_SIZE : -16] != second[sealed.HEADER_SIZE : -16]  # the tags would differ anyway


def test_every_changed_byte_is_caught(ring: KeyRing) -> None:
    whole = _seal(CONTENT, ring)
    for position in range(len(whole)):
        for change in (0x01, 0x80, 0xFF):
            changed = bytearray(whole)
            changed[position] ^= change
            with pytest.raises(ObjectCorrupt):
                unseal(bytes(changed), ring=ring, context=b"model 1")


def test_cut_or_lengthened_objects_are_caught(ring: KeyRing) -> None:
    whole = _seal(CONTENT, ring)
    for changed in [*(whole[:length] for length in range(len(whole))), whole + b"\0"]:
        with pytest.raises(ObjectCorrupt):
            unseal(changed, ring=ring, context=b"model 1")


def test_another_owner_and_another_installation_cannot_open_it(ring: KeyRing, tmp_path: Path) -> None:
    whole = _seal(CONTENT, ring)
    with pytest.raises(ObjectCorrupt):
        unseal(whole, ring=ring, context=b"model 2")
    other = KeyRing.open(tmp_path, random=random.Random(9).randbytes)
    with pytest.raises(ObjectCorrupt, match="ab12"):
        unseal(whole, ring=other, context=b"model 1", name="ab12")


def test_a_ciphertext_does_not_open_under_another_objects_header(ring: KeyRing) -> None:
    first, second = _seal(CONTENT, ring, seed=4), _seal(CONTENT, ring, seed=5)
    with pytest.raises(ObjectCorrupt):
        unseal(first[: sealed.HEADER_SIZE] + second[sealed.HEADER_SIZE :], ring=ring, context=b"model 1")


def test_more_than_the_library_takes_is_refused(ring: KeyRing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealed, "LARGEST", len(CONTENT) - 1)
    with pytest.raises(ObjectRefused, match="more than"):
        _seal(CONTENT, ring)
