"""Signed notes (C2SP signed-note) with Ed25519: a text, a blank line, and one line for each signature."""

import base64
import binascii
import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from evidence.errors import Malformed, NoteUnsigned

ED25519 = 0x01
_MARK = "\u2014 "  # an em dash and a space begin every signature line
_LONGEST = 1 << 20


@dataclass(frozen=True, slots=True)
class NoteKey:
    """Who signs: a name without spaces and plus signs, and the 32 bytes of an Ed25519 public key."""

    name: str
    public: bytes

    def __post_init__(self) -> None:
        if not self.name or "+" in self.name or any(c.isspace() for c in self.name):
            raise Malformed("note key", "its name is empty, or holds a space or a plus sign")
        if len(self.public) != 32:
            raise Malformed("note key", f"an Ed25519 public key has 32 bytes, not {len(self.public)}")

    @property
    def key_id(self) -> bytes:
        """The first 4 bytes of SHA-256(name || newline || 0x01 || public key)."""
        return hashlib.sha256(self.name.encode() + b"\n" + bytes([ED25519]) + self.public).digest()[:4]


def sign_note(text: str, key: NoteKey, sign: Callable[[bytes], bytes]) -> str:
    """Return the note: `text`, which ends with a newline, and one signature line.

    Raises Malformed: a text that no note can have.
    """
    _check_text(text)
    signature = base64.b64encode(key.key_id + sign(text.encode())).decode()
    return f"{text}\n{_MARK}{key.name} {signature}\n"


def cosign_note(note: str, key: NoteKey, sign: Callable[[bytes], bytes]) -> str:
    """Return the note with one more signature line, by another key over the same text. Raises Malformed."""
    text = note.rpartition("\n\n")[0] + "\n"
    return note + sign_note(text, key, sign).removeprefix(f"{text}\n")


def signed_by(note: str, key: NoteKey) -> bool:
    """Whether a signature line names this key; whether its signature fits is for `open_note`. Raises Malformed."""
    lines = note.rpartition("\n\n")[2]
    return any(_is(key, name, key_id) for name, key_id, _ in map(_signature, lines.splitlines()))


def open_note(note: str, key: NoteKey) -> str:
    """Return the text, if one of the signatures is by this key; lines of other signers are ignored.

    Raises Malformed; NoteUnsigned: no line names this key, or its signature is wrong.
    """
    if len(note) > _LONGEST:
        raise Malformed("signed note", f"it is longer than {_LONGEST} characters")
    text, blank, lines = note.rpartition("\n\n")
    if not blank or not lines.endswith("\n"):
        raise Malformed("signed note", "no blank line stands before the signatures, or the last line is cut short")
    text += "\n"
    _check_text(text)
    mine = [signature for name, key_id, signature in map(_signature, lines.splitlines()) if _is(key, name, key_id)]
    if not mine:
        raise NoteUnsigned(key.name, "no signature line names this key")
    if len(mine) > 1:
        raise NoteUnsigned(key.name, "it names this key more than once")
    try:
        Ed25519PublicKey.from_public_bytes(key.public).verify(mine[0], text.encode())
    except InvalidSignature:
        raise NoteUnsigned(key.name, "the signature does not fit the text") from None
    return text


def decode(text: str, what: str) -> bytes:
    """Return the bytes of standard base64 in its one canonical spelling. Raises Malformed."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Malformed(what, "a line is not base64") from None
    if base64.b64encode(data).decode() != text:
        raise Malformed(what, "a line is not canonical base64")
    return data


def _is(key: NoteKey, name: str, key_id: bytes) -> bool:
    return name == key.name and key_id == key.key_id


def _signature(line: str) -> tuple[str, bytes, bytes]:
    name, _, encoded = line.removeprefix(_MARK).partition(" ")
    if not line.startswith(_MARK) or not name or " " in encoded:
        raise Malformed("signed note", "a signature line has another form")
    data = decode(encoded, "signed note")
    if len(data) < 5:
        raise Malformed("signed note", "a signature is too short")
    return name, data[:4], data[4:]


def _check_text(text: str) -> None:
    if not text.endswith("\n") or any(c < " " and c != "\n" for c in text):
        raise Malformed("signed note", "its text does not end with a newline, or holds control characters")
