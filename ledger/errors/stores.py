"""What the installation rests on: settings, keys, objects, disks, the database, the broker."""

from ledger.errors.base import LedgerError


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
        super().__init__(f"The store failed: {why}. {advice}.")
        self.why = why


class StoreFull(StoreFailed):
    """There is no room for the object. Nothing of it was kept."""

    def __init__(self, why: str) -> None:
        super().__init__(why, "Free space, raise the quota or the file size limit, then try again")


class StoreReadOnly(StoreFailed):
    """The store may not be written. Nothing was changed."""

    def __init__(self, why: str) -> None:
        super().__init__(why, "Mount it for writing, or give this user the permission, then try again")


class StoreUnsuitable(StoreFailed):
    """The object store cannot be used: it keeps what is deleted, or its address is wrong. The address is not said."""

    def __init__(self, why: str) -> None:
        super().__init__(why, "Correct LACUNA_OBJECTS_URL, or the store itself, then start again")


class LogDamaged(LedgerError):
    """Rows of the transparency log are missing or were changed, so it can neither grow nor prove anything."""

    def __init__(self, why: str) -> None:
        super().__init__(
            f"The transparency log is damaged: {why}. Events get no places in it until it is repaired. "
            "`lacuna verify log` names the rows; restore them from a backup."
        )
        self.why = why


class SignatureInvalid(LedgerError):
    """A signed envelope is malformed or was not signed by the given key."""

    def __init__(self, why: str) -> None:
        super().__init__(
            f"The signature does not verify: {why}. Do not trust the content; fetch it and the public key again."
        )
        self.why = why


class SettingUnusable(LedgerError):
    """A setting that says where things are, or the file that it names, cannot be used. Its content is not said."""

    def __init__(self, setting: str, why: str) -> None:
        super().__init__(f"The setting {setting} cannot be used: {why}. Correct it, then start again.")
        self.setting = setting
        self.why = why


class MigrationNeeded(LedgerError):
    """The database's tables are not those of this program."""

    def __init__(self, current: str | None, needed: str | None) -> None:
        super().__init__(
            f"The database stands at migration {current}, this program needs {needed}. Run `lacuna db upgrade`."
        )


class DowngradeRefused(LedgerError):
    """Undoing migrations would lose something, or leave something that older programs misread. Nothing was changed."""

    def __init__(self, why: list[str]) -> None:
        super().__init__(
            f"The database was not downgraded: {'; '.join(why)}. Nothing was changed. To run the older program, "
            "restore the backup that was taken before the upgrade, or export and delete what is named here first."
        )


class RolesRefused(LedgerError):
    """The roles of the database cannot be made or granted. Nothing was changed."""

    def __init__(self, why: str) -> None:
        super().__init__(
            f"The database's roles were not set: {why}. Nothing was changed. Run it on PostgreSQL, as the owner of the "
            "tables, who may create roles; `lacuna db roles --print` shows the statements for an administrator."
        )


class BrokerUnreachable(LedgerError):
    """Redis does not answer, or refuses. Jobs wait in the database meanwhile; nothing is lost."""

    def __init__(self, why: str) -> None:
        super().__init__(
            f"Messages to the workers cannot be sent: {why}. Accepted work waits in the database and is sent once "
            "Redis answers; look at Redis and at LACUNA_REDIS_URL."
        )
        self.why = why
