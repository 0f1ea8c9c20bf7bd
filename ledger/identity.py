"""Who a record is about, stored so that the ledger can find a person but nobody can read one.

Only HMACs under a key of the tenant are kept. Deletion networks often send a hash of an e-mail address or an
advertising id instead of the thing itself, so one raw identifier is stored in four forms: raw, md5, sha1, sha256.
"""

import hashlib
import hmac
import re
import unicodedata
from dataclasses import dataclass, field

from evidence.spelling import folded, trimmed
from ledger.errors import InvalidIdentifier, KeyUnavailable

RAW = "raw"
DIGITS = {"md5": 32, "sha1": 40, "sha256": 64}  # hex digits of each hashed format
FORMATS = (RAW, *DIGITS)
EMAIL = "email"
LARGEST = 1024  # bytes of an identifier in UTF-8
KEY_SIZE = 32  # bytes, at least

_TYPE = re.compile(r"[a-z0-9][a-z0-9_.:-]{0,63}")
_HEX = re.compile(r"[0-9a-f]*")


@dataclass(frozen=True)
class Alias:
    """One stored form of an identifier: its type, its format and 32 bytes of HMAC-SHA256."""

    type: str
    format: str
    hmac: bytes = field(repr=False)


class AliasHasher:
    """Turns identifiers into HMACs under one tenant's key."""

    def __init__(self, key: bytes) -> None:
        """Raises KeyUnavailable: the key has fewer than 32 bytes."""
        if len(key) < KEY_SIZE:
            raise KeyUnavailable(f"an identity key of {len(key)} bytes is shorter than {KEY_SIZE}")
        self._key = key

    def aliases(self, type: str, value: str) -> list[Alias]:
        """The four forms of a raw identifier, to store when its data arrive. Raises InvalidIdentifier."""
        kind = _checked_type(type)
        raw = normalise(kind, value)
        return [self._alias(kind, format_, _in_format(format_, raw)) for format_ in FORMATS]

    def lookup(self, type: str, format: str, value: str) -> Alias:
        """The form to search for, from a request that carries a raw or a hashed identifier.

        A hash must be hexadecimal and of the right length, in either case. It must have been taken of the normalised
        identifier (see `normalise`), in UTF-8. Raises InvalidIdentifier.
        """
        kind = _checked_type(type)
        if format == RAW:
            return self._alias(kind, RAW, normalise(kind, value))
        if format not in DIGITS:
            raise InvalidIdentifier("identifier format", f"it is none of {', '.join(FORMATS)}")
        digest = _cleaned(value).lower()
        if len(digest) != DIGITS[format] or not _HEX.fullmatch(digest):
            raise InvalidIdentifier("identifier", f"a {format} has {DIGITS[format]} hexadecimal digits")
        return self._alias(kind, format, digest)

    def record_key(self, cohort_id: str, external_id: str) -> bytes:
        """32 bytes that find a record by the caller's own id within one cohort. Raises InvalidIdentifier."""
        return self._hmac("lacuna/record/1", cohort_id, _cleaned(external_id))

    def content_key(self, payload: bytes) -> bytes:
        """32 bytes that are equal for records of the same bytes, in whatever cohort of the tenant."""
        keyed = hmac.new(self._key, b"lacuna/content/1\0", "sha256")
        keyed.update(payload)  # not put together first: that would copy a large record
        return keyed.digest()

    def retry_key(self, *parts: str) -> bytes:
        """32 bytes that stand for a request, or for the key it may be sent again with."""
        return self._hmac("lacuna/retry/1", *parts)

    def _alias(self, type: str, format: str, value: str) -> Alias:
        return Alias(type, format, self._hmac("lacuna/alias/1", type, format, value))

    def _hmac(self, *parts: str) -> bytes:
        """HMAC-SHA256 of the parts, each behind its length in 4 bytes, so no two lists of parts give one message."""
        message = bytearray()
        for part in parts:
            encoded = part.encode()
            message += len(encoded).to_bytes(4, "big") + encoded
        return hmac.digest(self._key, message, "sha256")


def normalise(type: str, value: str) -> str:
    """The one spelling under which an identifier is stored: trimmed, Unicode NFC, an e-mail also case-folded.

    Applying it twice changes nothing. Raises InvalidIdentifier: empty, over 1024 bytes, or with control characters.
    """
    text = _cleaned(value)
    if type != EMAIL:
        return text
    return _checked_size(folded(text))


def _cleaned(value: str) -> str:
    _checked_size(value)  # before any work that grows with the length
    if value.isascii() and value.isprintable() and (plain := value.strip(" ")):
        return plain  # what nearly all identifiers are: the rest would not change it
    text = trimmed(value)
    if not text:
        raise InvalidIdentifier("identifier", "it is empty")
    # Cc control characters, Cs halves of characters, Zl and Zp line and paragraph separators.
    if any(unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"} for character in text):
        raise InvalidIdentifier("identifier", "it contains control characters")
    return _checked_size(text)


def _checked_size(text: str) -> str:
    # Halves of characters (surrogates) are counted here and refused by the caller.
    if len(text.encode("utf-8", "surrogatepass")) > LARGEST:
        raise InvalidIdentifier("identifier", f"it is longer than {LARGEST} bytes")
    return text


def _checked_type(type: str) -> str:
    kind = type.strip().lower()
    if not _TYPE.fullmatch(kind):
        raise InvalidIdentifier("identifier type", "it is not 1 to 64 letters, digits, or one of _ . : -")
    return kind


def _in_format(format: str, raw: str) -> str:
    if format == RAW:
        return raw
    return hashlib.new(format, raw.encode(), usedforsecurity=False).hexdigest()  # md5 and sha1: what networks send
