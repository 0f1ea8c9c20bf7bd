"""Commitments to names, and the receipts that open them."""

from __future__ import annotations

import hashlib
import hmac
import json
import struct
import unicodedata
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evidence.commitment import Commitment, leaf, salt, spelled
from evidence.errors import EvidenceError, Malformed, ReceiptRefused
from evidence.receipt import LONGEST_PATH, Receipt, check_receipt, read_receipt

SEED = bytes(range(32))
PEOPLE = ["ada", "bob", "cyd", "dan", "eve"]
RAW = ("subject", "controller_customer_id", "raw")


def commitment(names: list[str], seed: bytes = SEED) -> Commitment:
    return Commitment.to(seed, [(RAW, name) for name in names])


def receipt(made: Commitment, place: int) -> Receipt:
    return Receipt(
        made.root(), RAW, salt(made.seed, place), made.leaves[place], place, made.size, tuple(made.path(place))
    )


def test_a_commitment_is_spelled_as_the_format_says() -> None:
    """By hand: requests that were answered with a root must find the same one again with the seed that is kept."""

    def keyed(key: bytes, *message: bytes) -> bytes:
        return hmac.new(key, b"".join(message), "sha256").digest()

    def node(left: bytes, right: bytes) -> bytes:
        return hashlib.sha256(b"\1" + left + right).digest()

    salts = [keyed(SEED, b"lacuna/salt/1\0", struct.pack(">Q", place)) for place in range(3)]
    words = [[b"subject", b"controller_customer_id", b"raw", name.encode()] for name in PEOPLE[:3]]
    leaves = [
        keyed(key, b"lacuna/named/1\0", *(struct.pack(">I", len(word)) + word for word in said))
        for key, said in zip(salts, words, strict=True)
    ]
    made = commitment(PEOPLE[:3])
    assert [salt(SEED, place) for place in range(3)] == salts
    assert list(made.leaves) == leaves
    filling = keyed(SEED, b"lacuna/filling/1\0", struct.pack(">Q", 3))
    assert made.root() == node(node(leaves[0], leaves[1]), node(leaves[2], filling))


@pytest.mark.parametrize("count", range(1, 6))
def test_everybody_opens_her_own_name_and_no_other(count: int) -> None:
    made = commitment(PEOPLE[:count])
    for place, name in enumerate(PEOPLE[:count]):
        own = read_receipt(receipt(made, place).text())
        check_receipt(own, made.root().hex(), name)
        check_receipt(own, made.root().hex(), None)
        for other in {*PEOPLE, name.upper(), name + "x", ""} - {name}:
            with pytest.raises(ReceiptRefused, match="not the receipt of this subject controller_customer_id raw"):
                check_receipt(own, made.root().hex(), other)


def test_the_receipt_of_another_request_and_one_without_a_commitment_are_named() -> None:
    mine, theirs = commitment(["ada"]), commitment(["ada"], seed=bytes(32))
    with pytest.raises(ReceiptRefused, match="receipt of another request"):
        check_receipt(receipt(theirs, 0), mine.root().hex(), "ada")
    with pytest.raises(ReceiptRefused, match="commits to no name"):
        check_receipt(receipt(mine, 0), None, "ada")


def test_one_flipped_byte_anywhere_fails() -> None:
    made = commitment(PEOPLE)
    text = receipt(made, 2).text().encode()
    check_receipt(read_receipt(text.decode()), made.root().hex(), "cyd")
    for position in range(len(text)):
        changed = bytearray(text)
        changed[position] ^= 1 << position % 8
        with pytest.raises(EvidenceError):
            check_receipt(read_receipt(changed.decode(errors="replace")), made.root().hex(), "cyd")


def test_a_path_that_leads_elsewhere_is_named() -> None:
    made = commitment(PEOPLE)
    own = receipt(made, 1)
    for changed in (
        replace(own, place=0),
        replace(own, size=4),
        replace(own, path=own.path[:-1]),
        replace(own, size=0),
    ):
        with pytest.raises(ReceiptRefused, match="its path does not lead"):
            check_receipt(changed, made.root().hex(), "bob")


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", "null", "1e999", '{"type": 1}', "[" * 100_000],
)
def test_files_that_are_no_receipt(text: str) -> None:
    with pytest.raises(Malformed):
        read_receipt(text)


def test_other_spellings_of_a_receipt_are_refused() -> None:
    good = receipt(commitment(PEOPLE), 0)
    fields = json.loads(good.text())
    for other in (
        json.dumps(fields) + "\n",
        good.text()[:-1],
        good.text().replace("0", "00", 1),
        json.dumps({**fields, "more": 1}, separators=(",", ":")) + "\n",
        json.dumps({**fields, "salt": fields["salt"].upper()}, separators=(",", ":")) + "\n",
        replace(good, path=good.path * LONGEST_PATH).text(),
        replace(good, salt=good.salt + b"\0").text(),  # under HMAC the same key
        replace(good, leaf=good.leaf[1:]).text(),
        replace(good, commitment=b"").text(),
    ):
        with pytest.raises(Malformed):
            read_receipt(other)


def test_the_root_says_neither_how_many_nor_whom() -> None:
    """Leaves are filled up with what looks like leaves; without the seed all of them are random."""
    three = commitment(PEOPLE[:3])
    assert (three.size, len(three.path(2))) == (4, 2)
    assert len({commitment(PEOPLE, seed=bytes([i]) * 32).root() for i in range(50)}) == 50
    same = Commitment.to(SEED, [(RAW, "ada"), (RAW, "ada")])
    assert same.leaves[0] != same.leaves[1]


def test_what_a_name_is_counts_and_lengths_cannot_be_shifted() -> None:
    key = bytes(32)
    ways = [RAW, ("subject", "email", "raw"), ("record",), ("label",), ("subject", "controller_customer_id", "md5")]
    assert len({leaf(key, way, "7") for way in ways}) == len(ways)
    assert leaf(key, ("a", "bc"), "d") != leaf(key, ("ab", "c"), "d") != leaf(key, ("a", "b"), "cd")


def test_the_one_spelling_of_a_name() -> None:
    assert spelled(("subject", "email", "raw"), " ADA@Example.ORG ") == "ada@example.org"
    assert spelled(("subject", "email", "raw"), "\u00c9") == spelled(("subject", "email", "raw"), "e\u0301")
    assert spelled(RAW, " Ada") == "Ada"
    assert spelled(("subject", "email", "sha256"), "ABCD") == "abcd"
    assert spelled(("record",), " R1 ") == "R1"


@given(st.text(max_size=30), st.sampled_from([RAW, ("subject", "email", "raw"), ("record",)]))
def test_a_spelling_is_its_own_spelling(text: str, what: tuple[str, ...]) -> None:
    once = spelled(what, text)
    assert spelled(what, once) == once
    assert spelled(what, f" {unicodedata.normalize('NFD', text)}\n") == once
