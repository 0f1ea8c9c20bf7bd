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
    │   ├── StoreReadOnly       read-only, or no permission
    │   └── StoreUnsuitable     the object store keeps what is deleted, or its address is wrong
    ├── LogDamaged              rows of the transparency log are missing or were changed
    ├── SignatureInvalid        a signed envelope does not verify
    ├── SigningKeyRefused       a signing key cannot be rotated or revoked like this
    ├── SettingUnusable         a setting, or the file of a secret that it names, cannot be used
    ├── MigrationNeeded         the database's tables are older or newer than this program
    ├── DowngradeRefused        undoing migrations would lose data
    ├── RolesRefused            the database's roles cannot be made
    ├── KeyRefused              an API key is unknown, expired or revoked
    ├── PersonRefused           somebody cannot be let sign in under that name or role
    ├── PasswordRefused         the password is too short or too long
    ├── NotFound                no such cohort, model, version, request, job or certificate
    ├── NameTaken               a cohort or model of that name exists
    ├── WrongCohortKind         a core cohort where a user cohort is needed, or the reverse
    ├── CoreNeverForgotten      a forget request names a core cohort
    ├── SelectorInvalid         a forget request selects nothing, or in two ways
    ├── RecordsClash            an upload repeats records that are stored already
    ├── SubjectSuppressed       an upload brings back somebody who was forgotten
    ├── RecordsUnknown          a correction names records that are not stored
    ├── TooManyOfOneSubject     an upload brings a subject more records than one may have
    ├── SubjectHeld             a correction names records that a hold keeps as they are
    ├── ReasonRefused           the reason of a hold names somebody
    ├── LineageBroken           a model rests on data that the ledger does not call public
    ├── UploadClosed            an upload was finished or given up before
    ├── UploadIncomplete        not all announced bytes of an upload have arrived
    ├── OffsetMismatch          a part of an upload does not begin where the last one ended
    ├── WrongState              the thing is not in a state in which this can be done
    ├── ModelRetired            the model is being destroyed, or is destroyed
    ├── SuccessorPending        a model has a successor in the making already
    ├── SuccessorNotReady       a successor cannot take over yet
    ├── BrokerUnreachable       messages to workers cannot be sent
    ├── UnknownTimeZone         the IANA database has no such time zone
    ├── WebhookRefused          nothing may be sent to that address
    ├── QuotaExceeded           the tenant has as much of something as it may have
    ├── IdempotencyKeyReused    the idempotency key came with another request before
    ├── StillInProgress         the first request with this idempotency key is not done yet
    ├── OutputsInvalid          a key's predictions cannot be answered like that
    ├── LeakageSpent            a key may learn no more about what a model has forgotten
    ├── LeaseLost               another worker has taken the job over
    └── PublishConflict         the model moved on while a version was being made

Every message says what happened, why, and what to do. No message contains an identifier, a key or stored content.
"""

from ledger.errors.base import LedgerError
from ledger.errors.life import (
    CoreNeverForgotten,
    LeaseLost,
    LineageBroken,
    ModelRetired,
    NameTaken,
    NotFound,
    PublishConflict,
    ReasonRefused,
    SelectorInvalid,
    SuccessorNotReady,
    SuccessorPending,
    WrongCohortKind,
    WrongState,
)
from ledger.errors.predictions import LeakageSpent, OutputsInvalid
from ledger.errors.signing import SigningKeyRefused
from ledger.errors.stores import (
    BrokerUnreachable,
    DowngradeRefused,
    InvalidIdentifier,
    KeyUnavailable,
    LogDamaged,
    MigrationNeeded,
    ObjectCorrupt,
    ObjectMissing,
    ObjectRefused,
    RecordMissing,
    RolesRefused,
    SettingUnusable,
    SignatureInvalid,
    StoreFailed,
    StoreFull,
    StoreReadOnly,
    StoreUnsuitable,
)
from ledger.errors.tenants import (
    IdempotencyKeyReused,
    KeyRefused,
    PasswordRefused,
    PersonRefused,
    QuotaExceeded,
    StillInProgress,
    UnknownTimeZone,
)
from ledger.errors.uploads import (
    OffsetMismatch,
    RecordsClash,
    RecordsUnknown,
    SubjectHeld,
    SubjectSuppressed,
    TooManyOfOneSubject,
    UploadClosed,
    UploadIncomplete,
)
from ledger.errors.webhooks import WebhookRefused

__all__ = [
    "BrokerUnreachable",
    "CoreNeverForgotten",
    "DowngradeRefused",
    "IdempotencyKeyReused",
    "InvalidIdentifier",
    "KeyRefused",
    "KeyUnavailable",
    "LeakageSpent",
    "LeaseLost",
    "LedgerError",
    "LineageBroken",
    "LogDamaged",
    "MigrationNeeded",
    "ModelRetired",
    "NameTaken",
    "NotFound",
    "ObjectCorrupt",
    "ObjectMissing",
    "ObjectRefused",
    "OffsetMismatch",
    "OutputsInvalid",
    "PasswordRefused",
    "PersonRefused",
    "PublishConflict",
    "QuotaExceeded",
    "ReasonRefused",
    "RecordMissing",
    "RecordsClash",
    "RecordsUnknown",
    "RolesRefused",
    "SelectorInvalid",
    "SettingUnusable",
    "SignatureInvalid",
    "SigningKeyRefused",
    "StillInProgress",
    "StoreFailed",
    "StoreFull",
    "StoreReadOnly",
    "StoreUnsuitable",
    "SubjectHeld",
    "SubjectSuppressed",
    "SuccessorNotReady",
    "SuccessorPending",
    "TooManyOfOneSubject",
    "UnknownTimeZone",
    "UploadClosed",
    "UploadIncomplete",
    "WebhookRefused",
    "WrongCohortKind",
    "WrongState",
]
