"""The receipt of a forget request: with it, and with nothing else, one name is found in the certificate.

It is a file for the person whom the request concerns. It does not name her: whoever has only the receipt must guess.
"""

from __future__ import annotations

import hmac
import json
import re
from dataclasses import dataclass

from evidence.commitment import SALT_SIZE, What, leaf
from evidence.errors import Malformed, ProofInvalid, ReceiptRefused
from evidence.merkle import HASH_SIZE, root_of_inclusion

RECEIPT = "https://lacuna.dev/erasure-receipt/v1"
LONGEST_PATH = 64
_HEX = re.compile(r"[0-9a-f]*")


@dataclass(frozen=True, slots=True)
class Receipt:
    """commitment: the root that the certificate states. leaf: HMAC-SHA256(salt, name), leaf `place` of `size`."""

    commitment: bytes
    what: What
    salt: bytes
    leaf: bytes
    place: int
    size: int
    path: tuple[bytes, ...]

    def text(self) -> str:
        """Return the file: JSON in its one spelling, one line."""
        fields = {
            "type": RECEIPT,
            "commitment": self.commitment.hex(),
            "what": list(self.what),
            "salt": self.salt.hex(),
            "leaf": self.leaf.hex(),
            "place": self.place,
            "size": self.size,
            "path": [step.hex() for step in self.path],
        }
        return json.dumps(fields, separators=(",", ":")) + "\n"


def read_receipt(text: str) -> Receipt:
    """Read `Receipt.text` back. Raises Malformed: another file, or another spelling of it."""
    try:
        fields = json.loads(text)
        found = Receipt(
            commitment=_bytes(fields["commitment"], HASH_SIZE),
            what=tuple(str(word) for word in fields["what"]),
            salt=_bytes(fields["salt"], SALT_SIZE),
            leaf=_bytes(fields["leaf"], HASH_SIZE),
            place=int(fields["place"]),
            size=int(fields["size"]),
            path=tuple(_bytes(step, HASH_SIZE) for step in fields["path"][: LONGEST_PATH + 1]),
        )
        same = found.text() == text
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Malformed("receipt", "a field is missing or of another kind") from None
    if not same or len(found.path) > LONGEST_PATH:
        raise Malformed("receipt", "it is not spelled as it was issued")
    return found


def check_receipt(receipt: Receipt, commitment: str | None, name: str | None) -> None:
    """Check that a receipt belongs to a certificate's commitment and, with a name, that it opens to this name.

    Raises ReceiptRefused.
    """
    if commitment is None:
        raise ReceiptRefused("the certificate commits to no name, so none can be opened")
    if receipt.commitment.hex() != commitment:
        raise ReceiptRefused("it is the receipt of another request")
    try:
        found = root_of_inclusion(receipt.leaf, receipt.place, receipt.size, receipt.path)
    except ProofInvalid:
        found = b""
    if not hmac.compare_digest(found, receipt.commitment):
        raise ReceiptRefused("it was changed, since its path does not lead to the commitment")
    if name is not None and not hmac.compare_digest(leaf(receipt.salt, receipt.what, name), receipt.leaf):
        raise ReceiptRefused(f"it is not the receipt of this {' '.join(receipt.what)}, or its salt was changed")


def _bytes(text: str, size: int) -> bytes:
    if len(text) != 2 * size or not _HEX.fullmatch(text):
        raise ValueError
    return bytes.fromhex(text)
