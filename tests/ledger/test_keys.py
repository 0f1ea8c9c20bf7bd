"""The key files: made once, by one process, and closed to others."""

import base64
import hashlib
import os
import random
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from ledger.errors import KeyUnavailable
from ledger.keys import KeyRing

DATA_KEY = bytes(range(32))


def _open(directory: Path, seed: int = 1) -> KeyRing:
    return KeyRing.open(directory, random=random.Random(seed).randbytes)


def test_the_same_directory_gives_the_same_keys_and_another_gives_others(tmp_path: Path) -> None:
    first, again, other = _open(tmp_path / "a"), _open(tmp_path / "a", seed=2), _open(tmp_path / "b", seed=3)
    assert again.public_key_pem() == first.public_key_pem() != other.public_key_pem()
    assert again.unwrap(first.wrap(DATA_KEY, b"owner"), b"owner") == DATA_KEY
    with pytest.raises(KeyUnavailable):
        other.unwrap(first.wrap(DATA_KEY, b"owner"), b"owner")


def test_only_the_owner_can_open_directory_and_files(tmp_path: Path) -> None:
    before = os.umask(0)  # the modes must not depend on the caller's umask
    try:
        _open(tmp_path / "made" / "keys")
    finally:
        os.umask(before)
    directory = tmp_path / "made" / "keys"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert {p.name: stat.S_IMODE(p.stat().st_mode) for p in directory.iterdir()} == {
        "master.key": 0o600,
        "signing.key": 0o600,
    }
    assert (directory / "master.key").stat().st_size == 32
    assert (directory / "signing.key").read_bytes().startswith(b"-----BEGIN PRIVATE KEY-----")


def test_a_slower_process_takes_the_keys_of_the_faster_one(tmp_path: Path) -> None:
    """The other process makes its keys exactly between our look for the file and our attempt to make it."""
    faster: list[KeyRing] = []

    def overtaken(count: int) -> bytes:
        if not faster:
            faster.append(_open(tmp_path, seed=5))
        return random.Random(6).randbytes(count)

    slower = KeyRing.open(tmp_path, random=overtaken)
    assert slower.key_id() == faster[0].key_id()
    assert slower.unwrap(faster[0].wrap(DATA_KEY, b""), b"") == DATA_KEY
    assert sorted(p.name for p in tmp_path.iterdir()) == ["master.key", "signing.key"]


RACER = """
import os, sys
from pathlib import Path
from ledger.keys import KeyRing
print("ready", flush=True)
sys.stdin.readline()
ring = KeyRing.open(Path(sys.argv[1]), random=os.urandom)
print(ring.key_id(), ring.wrap(bytes(range(32)), b"race").hex(), flush=True)
"""


def test_processes_that_race_for_a_new_directory_get_the_same_keys(tmp_path: Path) -> None:
    command = [sys.executable, "-c", RACER]
    racers = [subprocess.Popen([*command, str(tmp_path / "keys")], stdin=-1, stdout=-1, text=True) for _ in range(4)]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    lines = [racer.communicate(timeout=60)[0].split() for racer in racers]
    ring = _open(tmp_path / "keys")
    assert {key_id for key_id, _ in lines} == {ring.key_id()}
    assert {ring.unwrap(bytes.fromhex(wrapped), b"race") for _, wrapped in lines} == {DATA_KEY}


def test_a_crash_while_making_a_key_leaves_nothing_that_counts(tmp_path: Path) -> None:
    def fails(count: int) -> bytes:
        raise RuntimeError("no entropy")

    with pytest.raises(RuntimeError):
        KeyRing.open(tmp_path, random=fails)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / ".master.key.1.00.draft").write_bytes(b"half a key, from a process that was killed")
    ring = _open(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["master.key", "signing.key"]
    assert _open(tmp_path).key_id() == ring.key_id()


def test_a_lost_master_key_is_not_quietly_replaced(tmp_path: Path) -> None:
    _open(tmp_path)
    (tmp_path / "master.key").unlink()
    with pytest.raises(KeyUnavailable, match="missing"):
        _open(tmp_path)
    assert not (tmp_path / "master.key").exists()


def _rsa_pem() -> bytes:
    return rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("master.key", b"short", "5 bytes instead of 32"),
        ("signing.key", b"no pem", "PEM"),
        ("signing.key", _rsa_pem(), "not Ed25519"),
    ],
    ids=["short master key", "no PEM", "an RSA key"],
)
def test_damaged_key_files_are_refused(tmp_path: Path, name: str, content: bytes, why: str) -> None:
    _open(tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(KeyUnavailable, match=why):
        _open(tmp_path)


def test_a_key_that_every_user_can_read_is_refused(tmp_path: Path) -> None:
    _open(tmp_path)
    (tmp_path / "master.key").chmod(0o644)
    with pytest.raises(KeyUnavailable, match="chmod 600"):
        _open(tmp_path)


def test_a_directory_that_cannot_be_made_is_a_fact(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(KeyUnavailable):
        _open(tmp_path / "file" / "keys")


def test_a_wrapped_key_opens_only_unchanged_and_for_its_owner(tmp_path: Path) -> None:
    ring = _open(tmp_path)
    wrapped = ring.wrap(DATA_KEY, b"owner")
    assert DATA_KEY not in wrapped
    with pytest.raises(KeyUnavailable):
        ring.unwrap(wrapped, b"another owner")
    for position in range(len(wrapped)):
        changed = bytearray(wrapped)
        changed[position] ^= 1
        with pytest.raises(KeyUnavailable):
            ring.unwrap(bytes(changed), b"owner")
    for length in range(len(wrapped)):
        with pytest.raises(KeyUnavailable):
            ring.unwrap(wrapped[:length], b"owner")


def test_an_outsider_can_check_a_signature_and_recompute_the_key_id(tmp_path: Path) -> None:
    ring = _open(tmp_path)
    public = serialization.load_pem_public_key(ring.public_key_pem().encode())
    assert isinstance(public, Ed25519PublicKey)
    public.verify(ring.sign(b"message"), b"message")
    body = re.sub(r"-----.*?-----|\s", "", ring.public_key_pem())
    der = base64.b64decode(body)
    assert ring.key_id() == hashlib.sha256(der).hexdigest()[:16]


def test_printing_a_ring_shows_no_secret(tmp_path: Path) -> None:
    ring = _open(tmp_path)
    assert repr(ring) == f"KeyRing(key_id='{ring.key_id()}')"
