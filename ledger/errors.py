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
    ├── SignatureInvalid        a signed envelope does not verify
    ├── MigrationNeeded         the database's tables are older or newer than this program
    ├── DowngradeRefused        undoing migrations would lose data
    ├── RolesRefused            the database's roles cannot be made
    ├── KeyRefused              an API key is unknown, expired or revoked
    ├── NotFound                no such cohort, model, version, request, job or certificate
    ├── NameTaken               a cohort or model of that name exists
    ├── WrongCohortKind         a core cohort where a user cohort is needed, or the reverse
    ├── CoreNeverForgotten      a forget request names a core cohort
    ├── SelectorInvalid         a forget request selects nothing, or in two ways
    ├── RecordsClash            an upload repeats records that are stored already
    ├── SubjectSuppressed       an upload brings back somebody who was forgotten
    ├── RecordsUnknown          a correction names records that are not stored
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
    ├── QuotaExceeded           the tenant has as much of something as it may have
    ├── IdempotencyKeyReused    the idempotency key came with another request before
    ├── StillInProgress         the first request with this idempotency key is not done yet
    ├── LeaseLost               another worker has taken the job over
    └── PublishConflict         the model moved on while a version was being made

Every message says what happened, why, and what to do. No message contains an identifier, a key or stored content.
"""


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


class SignatureInvalid(LedgerError):
    """A signed envelope is malformed or was not signed by the given key."""

    def __init__(self, why: str) -> None:
        super().__init__(
            f"The signature does not verify: {why}. Do not trust the content; fetch it and the public key again."
        )
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


class KeyRefused(LedgerError):
    """The API key is unknown, expired or revoked; which of these is not said."""

    def __init__(self) -> None:
        super().__init__("The API key was refused: it is unknown, expired or revoked. Ask an administrator for a key.")


class NotFound(LedgerError):
    """There is no such thing, or it belongs to another tenant; which of these is not said."""

    def __init__(self, what: str, name: str) -> None:
        super().__init__(f"There is no {what} {name!r}. List what there is and use an id from the list.")
        self.what = what


class NameTaken(LedgerError):
    """The name is in use."""

    def __init__(self, what: str, name: str) -> None:
        super().__init__(f"A {what} named {name!r} exists already. Use that one, or choose another name.")


class WrongCohortKind(LedgerError):
    """The cohort cannot serve for this."""

    def __init__(self, name: str, *, got: str, needed: str) -> None:
        super().__init__(f"Cohort {name!r} has {got}, but this needs {needed}. Choose another cohort.")


class CoreNeverForgotten(LedgerError):
    """Core cohorts are public and cannot be forgotten."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"Cohort {name!r} is a core cohort: its records are public and its weights cannot forget them. "
            "Leave it out of the request; to stop using it, register a model on another core."
        )


class SelectorInvalid(LedgerError):
    """The request does not say clearly what to forget."""

    def __init__(self, why: str) -> None:
        super().__init__(f"The request does not say what to forget: {why}. Correct the selector and send it again.")


class RecordsClash(LedgerError):
    """Records of the same subject with the same ids are stored already."""

    def __init__(self, count: int) -> None:
        super().__init__(
            f"{count} of these records have the subject and id of a stored record. "
            "Nothing was stored: leave them out, or forget the old ones first."
        )
        self.count = count


class SubjectSuppressed(LedgerError):
    """The upload brings back subjects who were forgotten. `rows` is empty when they asked for it during the upload."""

    def __init__(self, rows: list[int], *, count: int | None = None) -> None:
        shown = ", ".join(str(row) for row in rows[:20]) + (", ..." if len(rows) > 20 else "")
        where = f" (rows {shown})" if rows else " while the upload was coming in"
        super().__init__(
            f"{len(rows) if count is None else count} rows belong to subjects who asked to be forgotten{where}. "
            "Nothing was stored: leave these rows out."
        )
        self.rows = rows


class RecordsUnknown(LedgerError):
    """Rows of a correction replace nothing. `rows` is empty when the records went while the upload was coming in."""

    def __init__(self, rows: list[int], *, count: int | None = None) -> None:
        super().__init__(
            f"{len(rows) if count is None else count} rows name no stored record of that subject and id, or one that "
            f"is being forgotten{_places(rows)}. Nothing was stored: leave these rows out, and send every other with "
            "the id and the subject that it was uploaded with."
        )
        self.rows = rows


class SubjectHeld(LedgerError):
    """Rows of a correction name records that a hold keeps. `rows` is empty when the hold came during the upload."""

    def __init__(self, rows: list[int], *, count: int | None = None) -> None:
        super().__init__(
            f"{len(rows) if count is None else count} rows would replace records that are on hold{_places(rows)}. "
            "Nothing was stored: leave these rows out until the hold is released."
        )
        self.rows = rows


def _places(rows: list[int]) -> str:
    if not rows:
        return " by now"
    return f" (rows {', '.join(str(row) for row in rows[:20])}{', ...' if len(rows) > 20 else ''})"


class ReasonRefused(LedgerError):
    """The reason of a hold names the person. It is shown to whoever may see holds."""

    def __init__(self) -> None:
        super().__init__(
            "The reason names the subject or an e-mail address. Nothing was stored: "
            "say why without saying who, for example by the number of the case."
        )


class LineageBroken(LedgerError):
    """What a model rests on is not public by the ledger. Its erasures are done, but nothing is certified."""

    def __init__(self, flaws: list[str]) -> None:
        super().__init__(
            f"No certificate can be given: {'; '.join(flaws)}. Everything selected is erased, but forgetting is "
            "certified only above a public core. Correct what the ledger says, then retry the job."
        )


class UploadClosed(LedgerError):
    """The upload was finished, given up or timed out before."""

    def __init__(self, upload_id: str) -> None:
        super().__init__(f"Upload {upload_id} is closed. Nothing of it was kept unless it had finished; send it anew.")


class UploadIncomplete(LedgerError):
    """Fewer bytes have arrived than were announced, or none."""

    def __init__(self, received: int, announced: int | None) -> None:
        super().__init__(
            f"{received} of {announced if announced is not None else 'no'} announced bytes have arrived. "
            "Send the rest, then finish the upload."
        )


class OffsetMismatch(LedgerError):
    """A part does not begin where the last one ended."""

    def __init__(self, expected: int) -> None:
        super().__init__(f"The next byte of this upload is number {expected}. Send the file from there.")
        self.expected = expected


class WrongState(LedgerError):
    """The thing is in a state in which this cannot be done."""

    def __init__(self, what: str, state: str, needed: str) -> None:
        super().__init__(f"The {what} is {state}; this can be done only while it is {needed}.")
        self.state = state


class ModelRetired(LedgerError):
    """The model is being destroyed, or is destroyed: nothing is made for it any more."""

    def __init__(self, state: str) -> None:
        super().__init__(f"The model is {state}: it learns and answers nothing any more. Register another one.")
        self.state = state


class SuccessorPending(LedgerError):
    """The model has a successor in the making; there is one at a time."""

    def __init__(self, successor_id: str) -> None:
        super().__init__(
            f"The model has a successor already, {successor_id}. Let it take over, or delete it, then register another."
        )


class SuccessorNotReady(LedgerError):
    """The model's successor cannot take over now."""

    def __init__(self, why: str) -> None:
        super().__init__(f"No successor can take over now: {why}. Nothing was changed.")
        self.why = why


class BrokerUnreachable(LedgerError):
    """Redis does not answer, or refuses. Jobs wait in the database meanwhile; nothing is lost."""

    def __init__(self, why: str) -> None:
        super().__init__(
            f"Messages to the workers cannot be sent: {why}. Accepted work waits in the database and is sent once "
            "Redis answers; look at Redis and at LACUNA_REDIS_URL."
        )
        self.why = why


class LeaseLost(LedgerError):
    """The worker's lease on a job ran out, or another worker holds it: whatever it made must not be published."""

    def __init__(self, job_id: int) -> None:
        super().__init__(f"The lease on job {job_id} is lost; another worker does it, or will. Publish nothing.")


class PublishConflict(LedgerError):
    """The model's applied sequence number is not the one that the new version started from."""

    def __init__(self, model_id: str) -> None:
        super().__init__(f"Model {model_id} moved on meanwhile. Start again from its active version.")


class IdempotencyKeyReused(LedgerError):
    """The idempotency key belongs to another request."""

    def __init__(self) -> None:
        super().__init__(
            "This Idempotency-Key came with another request before. Nothing was done: "
            "send the first request unchanged, or this one with a new key."
        )


class StillInProgress(LedgerError):
    """The first request with this idempotency key is not done yet."""

    def __init__(self) -> None:
        super().__init__(
            "The first request with this Idempotency-Key is still being done. "
            "Send it again in a moment, with the same key, to get its answer."
        )


class QuotaExceeded(LedgerError):
    """The tenant has as much of something as it may have."""

    def __init__(self, most: int, what: str, advice: str) -> None:
        """`what`, in the plural, is what there are `most` of."""
        super().__init__(
            f"This tenant may have {most} {what}, and has them. Nothing was done. "
            f"{advice}, or ask the operator for a larger quota."
        )
        self.most = most


class UnknownTimeZone(LedgerError):
    """The IANA database has no time zone of that name."""

    def __init__(self) -> None:
        super().__init__("There is no such time zone. Give a name of the IANA database, such as Europe/Berlin.")
