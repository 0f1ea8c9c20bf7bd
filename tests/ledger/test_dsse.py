"""Signed envelopes: the published encoding, and nothing but whole and genuine envelopes accepted."""

import base64
import json
import random

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from ledger.dsse import IN_TOTO, pae, sign_envelope, verify_envelope
from ledger.errors import SignatureInvalid
from ledger.keys import KeyRing

PAYLOAD = b'{"removed": true}\xff\x00'


@pytest.fixture(scope="module")
def ring(tmp_path_factory: pytest.TempPathFactory) -> KeyRing:
    return KeyRing.open(tmp_path_factory.mktemp("keys"), random=random.Random(1).randbytes)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> KeyRing:
    return KeyRing.open(tmp_path_factory.mktemp("keys"), random=random.Random(2).randbytes)


def test_the_encoding_is_that_of_the_specification() -> None:
    """The example of the DSSE specification, protocol.md, and lengths that count bytes, not characters."""
    assert pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )
    assert pae("é", b"") == b"DSSEv1 2 \xc3\xa9 0 "


@given(payload=st.binary(max_size=200), kind=st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
def test_a_signed_payload_verifies(ring: KeyRing, payload: bytes, kind: str) -> None:
    envelope = sign_envelope(payload, kind, ring)
    assert verify_envelope(envelope, ring.public_key_pem(), payload_type=kind) == payload


def test_another_tool_can_verify_it_by_hand(ring: KeyRing) -> None:
    fields = json.loads(sign_envelope(PAYLOAD, IN_TOTO, ring))
    assert set(fields) == {"payload", "payloadType", "signatures"}
    assert fields["payloadType"] == "application/vnd.in-toto+json"
    assert fields["signatures"][0]["keyid"] == ring.key_id()
    body = base64.b64decode(fields["payload"])
    public = serialization.load_pem_public_key(ring.public_key_pem().encode())
    assert isinstance(public, Ed25519PublicKey)
    message = f"DSSEv1 {len(IN_TOTO)} {IN_TOTO} {len(body)} ".encode() + body
    public.verify(base64.b64decode(fields["signatures"][0]["sig"]), message)
    assert body == PAYLOAD


def test_every_changed_byte_is_refused_or_harmless(ring: KeyRing) -> None:
    """Only `keyid` and the unused last bits of base64 may change, and then the payload is still the signed one."""
    envelope = sign_envelope(PAYLOAD, IN_TOTO, ring)
    start = envelope.index(b'keyid":"')
    end = envelope.index(ring.key_id().encode()) + 16
    harmless = []
    for position in range(len(envelope)):
        changed = bytearray(envelope)
        changed[position] ^= 0x01
        try:
            assert verify_envelope(bytes(changed), ring.public_key_pem()) == PAYLOAD
            harmless.append(position)
        except SignatureInvalid:
            pass
    assert all(start <= position < end or envelope[position + 1] == ord("=") for position in harmless)
    assert len(harmless) <= (end - start) + 2


def test_another_key_or_type_is_refused(ring: KeyRing, other: KeyRing) -> None:
    envelope = sign_envelope(PAYLOAD, IN_TOTO, ring)
    with pytest.raises(SignatureInvalid, match="given key"):
        verify_envelope(envelope, other.public_key_pem())
    with pytest.raises(SignatureInvalid, match="type"):
        verify_envelope(envelope, ring.public_key_pem(), payload_type="text/plain")


def test_one_good_signature_among_several_is_enough(ring: KeyRing, other: KeyRing) -> None:
    fields = json.loads(sign_envelope(PAYLOAD, IN_TOTO, ring))
    fields["signatures"] = json.loads(sign_envelope(PAYLOAD, IN_TOTO, other))["signatures"] + fields["signatures"]
    assert verify_envelope(json.dumps(fields).encode(), ring.public_key_pem()) == PAYLOAD
    fields["signatures"].pop()
    with pytest.raises(SignatureInvalid):
        verify_envelope(json.dumps(fields).encode(), ring.public_key_pem())


def test_url_safe_base64_is_accepted(ring: KeyRing) -> None:
    envelope = sign_envelope(b"\xfb\xff\xfe", "t", ring)
    fields = json.loads(envelope)
    fields["payload"] = "-__-"
    assert b'"+//+"' in envelope
    assert verify_envelope(json.dumps(fields).encode(), ring.public_key_pem()) == b"\xfb\xff\xfe"


MALFORMED = [
    b"",
    b"\xff\xfe",
    b"not json",
    b"[]",
    b"null",
    b"[" * 100_000,
    b'{"payload": 1}',
    b'{"payload": "", "payloadType": "t"}',
    b'{"payload": "", "payloadType": "t", "signatures": []}',
    b'{"payload": "", "payloadType": "t", "signatures": {}}',
    b'{"payload": "", "payloadType": "t", "signatures": [1]}',
    b'{"payload": "", "payloadType": "t", "signatures": [{}]}',
    b'{"payload": "", "payloadType": "t", "signatures": [{"sig": "AA=="}]}',
    b'{"payload": "*", "payloadType": "t", "signatures": [{"sig": "AA=="}]}',
    '{"payload": "é", "payloadType": "t", "signatures": [{"sig": "AA=="}]}'.encode(),
    b'{"payload": "", "payloadType": "\\ud800", "signatures": [{"sig": "AA=="}]}',
    b'{"payload": "", "payload": "", "payloadType": "t", "signatures": [{"sig": "AA=="}]}',
    b'{"payload": ' + b"1" * 5_000 + b"}",
]


@pytest.mark.parametrize("envelope", MALFORMED, ids=range(len(MALFORMED)))
def test_malformed_envelopes_are_refused(ring: KeyRing, envelope: bytes) -> None:
    with pytest.raises(SignatureInvalid):
        verify_envelope(envelope, ring.public_key_pem())


def test_a_genuine_envelope_with_additions_is_refused(ring: KeyRing) -> None:
    """Parsers disagree on both, so somebody else could read another payload than the one that was verified."""
    envelope = sign_envelope(PAYLOAD, IN_TOTO, ring)
    for start, changed in ((b'{"payload":', b'{"payload":"","payload":'), (b'{"payload":"', b'{"payload":"*')):
        assert envelope.startswith(start)
        with pytest.raises(SignatureInvalid):
            verify_envelope(envelope.replace(start, changed, 1), ring.public_key_pem())


def _elliptic_pem() -> str:
    public = generate_private_key(SECP256R1()).public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return pem.decode()


@pytest.mark.parametrize("pem", ["", "no pem", "\ud800", _elliptic_pem()], ids=["empty", "text", "surrogate", "P-256"])
def test_unusable_public_keys_are_refused(ring: KeyRing, pem: str) -> None:
    with pytest.raises(SignatureInvalid, match="public key"):
        verify_envelope(sign_envelope(PAYLOAD, IN_TOTO, ring), pem)
