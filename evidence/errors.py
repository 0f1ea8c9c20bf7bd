"""Why a piece of evidence is refused, as facts.

EvidenceError
├── Malformed        the bytes are not in the form that they claim
├── ProofInvalid     a Merkle proof does not lead to the root
├── NoteUnsigned     no signature on a note is by the given key
├── SignatureInvalid a signed envelope is malformed, or not signed by the given key
├── KeyNotTrusted    a key was revoked, or nothing leads from a given key to it
├── Contradiction    a certificate says things that cannot all be true
└── ReceiptRefused   a receipt does not open what a certificate commits to
"""


class EvidenceError(Exception):
    """Root of this package's errors."""


class Malformed(EvidenceError):
    """Bytes are not in the form that they claim."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(f"this is no {what}: {why}; fetch it again, unchanged")
        self.what = what
        self.why = why


class ProofInvalid(EvidenceError):
    """A Merkle proof does not lead to the root."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(f"the {what} proof fails: {why}; the log was changed, or the proof belongs to something else")
        self.what = what
        self.why = why


class NoteUnsigned(EvidenceError):
    """No signature on a note is by the given key."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"the note is not signed by {name}: {why}; check that it comes from this log, and the key")
        self.name = name
        self.why = why


class SignatureInvalid(EvidenceError):
    """A signed envelope is malformed or was not signed by the given key."""

    def __init__(self, why: str) -> None:
        super().__init__(f"the signature does not verify: {why}; do not trust the content")
        self.why = why


class KeyNotTrusted(EvidenceError):
    """A key was revoked, and what it signed cannot be shown to be older than that."""

    def __init__(self, key_id: str, why: str) -> None:
        super().__init__(f"the key {key_id} is not to be trusted here: {why}")
        self.key_id = key_id
        self.why = why


class Contradiction(EvidenceError):
    """A certificate says things that cannot all be true."""

    def __init__(self, why: str) -> None:
        super().__init__(f"the certificate contradicts itself or its entry in the log: {why}; ask who issued it")
        self.why = why


class ReceiptRefused(EvidenceError):
    """A receipt does not open what a certificate commits to."""

    def __init__(self, why: str) -> None:
        super().__init__(f"the receipt does not open this certificate: {why}; take both from the same request")
        self.why = why
