"""Everything the ledger may refuse or fail at, in one tree.

    LedgerError
    ├── KeyUnavailable          the key files cannot be read, made or used
    ├── InvalidIdentifier       an identifier or an object name is malformed
    ├── ObjectMissing           no object of that name
    ├── ObjectCorrupt           an object's bytes are not what was written
    ├── ObjectRefused           these records or bytes cannot be stored as one object
    ├── RecordMissing           a shard does not hold that record
    ├── StoreFailed             the disk failed in another way
    │   ├── StoreFull           no room, or over a quota
    │   └── StoreReadOnly       read-only, or no permission
    └── SignatureInvalid        a signed envelope does not verify

Every message says what happened, why, and what to do. No message contains an identifier, a key or stored content.
"""

# ruff: noqa: N818 - the names are facts ("ObjectMissing"); a suffix on each would repeat the base class.


class LedgerError(Exception):
    """Base of everything the ledger raises on purpose."""


class KeyUnavailable(LedgerError):
    """The keys cannot be read, made or used. Without them stored objects stay closed."""

    def __init__(self, why: str) -> None:
        super().__init__(
            f"The keys cannot be used: {why}. "
            "Restore the key directory of this installation, or correct its permissions."
        )
        self.why = why


class InvalidIdentifier(LedgerError):
    """An identifier is malformed. The message names its kind, never its value."""

    def __init__(self, kind: str, why: str) -> None:
        super().__init__(f"The {kind} was refused: {why}. Correct it and send it again.")
        self.kind = kind
        self.why = why


class ObjectMissing(LedgerError):
    """The store holds no object of that name."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"Object {name} is not in the store: it was deleted or never written. "
            "Read the ledger again for its successor."
        )
        self.name = name


class ObjectCorrupt(LedgerError):
    """An object's bytes are not the ones that were written for this owner."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(
            f"Object {name} cannot be trusted: {why}. Do not use it; restore it from a backup or write it again."
        )
        self.name = name
        self.why = why


class ObjectRefused(LedgerError):
    """These records or bytes cannot be stored as one object."""

    def __init__(self, why: str) -> None:
        super().__init__(f"The object was not written: {why}. Correct or split what is to be stored.")
        self.why = why


class RecordMissing(LedgerError):
    """A shard does not hold a record that was asked for."""

    def __init__(self, record_id: int) -> None:
        super().__init__(
            f"Record {record_id} is not in this shard: it was removed before, or the ledger names another shard. "
            "Read the ledger again."
        )
        self.record_id = record_id


class StoreFailed(LedgerError):
    """The disk under the store failed. Nothing half-written is visible."""

    def __init__(self, why: str, advice: str = "Check the disk and its mount, then try again") -> None:
        super().__init__(f"The object store failed: {why}. {advice}.")
        self.why = why


class StoreFull(StoreFailed):
    """There is no room for the object. Nothing of it was kept."""

    def __init__(self, why: str) -> None:
        super().__init__(why, "Free space, raise the quota or the file size limit, then try again")


class StoreReadOnly(StoreFailed):
    """The store may not be written. Nothing was changed."""

    def __init__(self, why: str) -> None:
        super().__init__(why, "Mount it for writing, or give this user the permission, then try again")


class SignatureInvalid(LedgerError):
    """A signed envelope is malformed or was not signed by the given key."""

    def __init__(self, why: str) -> None:
        super().__init__(
            f"The signature does not verify: {why}. Do not trust the content; fetch it and the public key again."
        )
        self.why = why
