"""Signed notes, checkpoints and proofs for use offline."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from evidence.checkpoint import Checkpoint, open_checkpoint
from evidence.errors import EvidenceError, Malformed, NoteUnsigned, ProofInvalid
from evidence.merkle import leaf_hash, node_hash
from evidence.signed_note import NoteKey, cosign_note, open_note, sign_note, signed_by
from evidence.tlog_proof import TlogProof, check_tlog_proof, read_tlog_proof

PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
KEY = NoteKey("lacuna.example/log", PRIVATE.public_key().public_bytes_raw())
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(32))
LEAVES = [leaf_hash(b"%d" % i) for i in range(3)]
ROOT = node_hash(node_hash(LEAVES[0], LEAVES[1]), LEAVES[2])
NOTE = Checkpoint(KEY.name, 3, ROOT).signed(KEY, PRIVATE.sign)
PROOF = TlogProof(1, [LEAVES[0], LEAVES[2]], NOTE).text()


def test_the_key_id_is_that_of_the_specification() -> None:
    """Name, key and id of a key that Go's implementation of signed notes uses in its own tests."""
    public = bytes.fromhex("1a5cd907143c384c41e830c5bce12aa8817ec5649aaabf2c31388b35b2d744d6")
    assert NoteKey("PeterNeumann", public).key_id.hex() == "c74f20a3"


def test_a_checkpoint_comes_back() -> None:
    assert open_checkpoint(NOTE, KEY) == Checkpoint(KEY.name, 3, ROOT)


@pytest.mark.parametrize("size", [0, 10, 10**18 - 1])
def test_a_checkpoint_of_any_size_comes_back(size: int) -> None:
    made = Checkpoint(KEY.name, size, ROOT)
    assert open_checkpoint(made.signed(KEY, PRIVATE.sign), KEY) == made


def test_others_may_sign_too() -> None:
    witness = NoteKey("witness.example", OTHER.public_key().public_bytes_raw())
    line = sign_note(Checkpoint(KEY.name, 3, ROOT).text(), witness, OTHER.sign).rsplit("\n\n", 1)[1]
    assert open_checkpoint(NOTE + line, KEY).size == 3
    assert cosign_note(NOTE, witness, OTHER.sign) == NOTE + line
    assert [signed_by(note, witness) for note in (NOTE, NOTE + line)] == [False, True]
    with pytest.raises(NoteUnsigned, match="more than once"):
        open_checkpoint(NOTE + NOTE.rsplit("\n\n", 1)[1], KEY)


@given(st.integers(0, len(NOTE.encode()) * 8 - 1))
def test_a_flipped_bit_is_noticed(bit: int) -> None:
    data = bytearray(NOTE.encode())
    data[bit // 8] ^= 1 << bit % 8
    with pytest.raises(EvidenceError):
        open_checkpoint(data.decode(errors="replace"), KEY)


def test_another_key_and_another_log() -> None:
    with pytest.raises(NoteUnsigned):
        open_checkpoint(NOTE, NoteKey(KEY.name, OTHER.public_key().public_bytes_raw()))
    elsewhere = Checkpoint("other.example/log", 3, ROOT).signed(KEY, PRIVATE.sign)
    with pytest.raises(Malformed, match=r"other\.example/log"):
        open_checkpoint(elsewhere, KEY)


@pytest.mark.parametrize(
    "text",
    ["", "no newline", "a\n", f"{KEY.name}\n03\nAA==\n", f"{KEY.name}\n3\nAA==\n", f"{KEY.name}\n-3\nAA==\n",
     f"{KEY.name}\n3\n!\n"],
)  # fmt: skip
def test_texts_that_are_no_checkpoint(text: str) -> None:
    with pytest.raises(Malformed):
        open_checkpoint(sign_note(text, KEY, PRIVATE.sign), KEY)


HASH = base64.b64encode(ROOT).decode()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f"{KEY.name}\n3\n", "fewer than three lines"),
        (f"{KEY.name}\n03\n{HASH}\n", "size is not a plain number"),
        (f"{KEY.name}\n\u0663\n{HASH}\n", "size is not a plain number"),
        (f"{KEY.name}\n{'9' * 19}\n{HASH}\n", "size is not a plain number"),
        (f"{KEY.name}\n3\nAA==\n", "root has 1 bytes"),
        (f"{KEY.name}\n3\nAB==\n", "not canonical base64"),
        (f"{KEY.name}\n3\n{HASH}!\n", "not base64"),
    ],
)
def test_what_is_wrong_with_a_checkpoint_is_named(text: str, told: str) -> None:
    with pytest.raises(Malformed, match=told):
        open_checkpoint(sign_note(text, KEY, PRIVATE.sign), KEY)


@pytest.mark.parametrize(
    ("note", "told"),
    [
        (NOTE + "\u2014 witness AAAA\n", "a signature is too short"),
        (NOTE + "\u2014 witness AAAAAAB=\n", "not canonical base64"),
        (NOTE + "- witness AAAAAAAA\n", "a signature line has another form"),
        (NOTE + "witness AAAAAAAA\n", "a signature line has another form"),
        (NOTE + "\u2014  AAAAAAAA\n", "a signature line has another form"),
        (NOTE[:-1], "the last line is cut short"),
        (NOTE.replace("\n\n", "\n"), "no blank line"),
        (NOTE + "\u2014 witness " + "A" * (1 << 20) + "\n", "longer than"),
        ("a\tb" + NOTE, "control characters"),
    ],
)
def test_what_is_wrong_with_a_note_is_named(note: str, told: str) -> None:
    """Lines of other signers are not checked, but they must be lines."""
    with pytest.raises(Malformed, match=told):
        open_note(note, KEY)


def test_texts_that_nobody_signs() -> None:
    for text in ("", "no newline", "a\tb\n", "a\x00\n"):
        with pytest.raises(Malformed, match="does not end with a newline"):
            sign_note(text, KEY, PRIVATE.sign)


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_a_key_has_32_bytes(length: int) -> None:
    with pytest.raises(Malformed, match=f"not {length}"):
        NoteKey("name", bytes(length))


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\nb"])
def test_names_that_no_key_has(name: str) -> None:
    with pytest.raises(Malformed):
        NoteKey(name, KEY.public)


def test_a_proof_leads_to_its_checkpoint() -> None:
    assert check_tlog_proof(PROOF, LEAVES[1], KEY).size == 3
    with pytest.raises(ProofInvalid):
        check_tlog_proof(PROOF, LEAVES[2], KEY)
    header, rest = PROOF.split("\n", 1)
    assert check_tlog_proof(f"{header}\nextra aGVsbG8=\n{rest}", LEAVES[1], KEY).root == ROOT


@given(st.integers(0, len(PROOF.encode()) * 8 - 1))
def test_a_flipped_bit_in_a_proof_is_noticed(bit: int) -> None:
    data = bytearray(PROOF.encode())
    data[bit // 8] ^= 1 << bit % 8
    with pytest.raises(EvidenceError):
        check_tlog_proof(data.decode(errors="replace"), LEAVES[1], KEY)


@given(st.integers(0, len(PROOF) - 1))
def test_a_proof_cut_short_is_noticed(length: int) -> None:
    with pytest.raises(EvidenceError):
        check_tlog_proof(PROOF[:length], LEAVES[1], KEY)


def test_indices_that_are_no_plain_numbers() -> None:
    for index in ("01", "-1", "1e3", "", "٣", "9" * 19):
        with pytest.raises(Malformed, match="index"):
            read_tlog_proof(PROOF.replace("index 1", f"index {index}"))
    for number in (0, 10, 10**18 - 1):
        assert read_tlog_proof(PROOF.replace("index 1", f"index {number}")).index == number


def test_paths_that_no_log_has() -> None:
    for path in ([LEAVES[0], b"short"], [LEAVES[0] + b"0"], [LEAVES[0]] * 64):
        with pytest.raises(Malformed, match="its path is not one of hashes"):
            read_tlog_proof(TlogProof(1, path, NOTE).text())


def test_a_proof_brings_its_entry_along() -> None:
    made = TlogProof(1, [LEAVES[0], LEAVES[2]], NOTE, extra=b"an entry")
    assert read_tlog_proof(made.text()) == made
    assert read_tlog_proof(PROOF).extra == b""
