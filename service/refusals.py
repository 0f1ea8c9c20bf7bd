"""What the service itself refuses, before the ledger is asked.

ServiceError
├── NotAuthenticated     no key, or none that can be read
├── ScopeMissing         the key may not do this
├── CrossSite            a browser sent this on behalf of another site
├── FormRefused          a form does not come from a page of this session
├── OnlyLooking          who is signed in may look and change nothing
├── BodyTooLarge         more bytes than are accepted
├── BodyTooSlow          the rest of the body does not come
├── BodyNotOfType        the body is not of a type that is read here
├── BodyUnreadable       the body ends early or cannot be parsed
├── IdempotencyKeyUnreadable  the header Idempotency-Key is no quoted string
├── AskedTooOften        the key has asked more often than it may
├── TooManyStreams       the key has as many open streams as it may
├── CursorRefused        a list has no such page
├── PreconditionFailed   the state is not the one that If-Match names
├── PreconditionRequired If-Match is missing
├── UploadRefused        records that were sent are not what they must be
├── InstancesRefused     records to predict for do not fit the model
├── PlanRefused          a model cannot be made that way
├── NotServing           no version may answer now
├── VersionNotServed     a version was named that does not answer
├── TooManyWaiting       too many predictions wait in this process
├── VersionGone          the version was destroyed
├── RequestStuck         the forget request that is asked about has failed
└── CertificateMissing   the request has no certificate, or not yet

Every message says what happened, why, and what to do. None contains an identifier or anything else that was sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

MOST_ROWS_SHOWN = 20


class ServiceError(Exception):
    """Base of everything the service refuses on purpose."""


class NotAuthenticated(ServiceError):
    """No key was presented."""

    def __init__(self) -> None:
        super().__init__(
            "This needs an API key, and none could be read. "
            "Send it as `Authorization: Bearer lacuna_...` or as the password of HTTP Basic."
        )


class ScopeMissing(ServiceError):
    """The key is valid and may not do this."""

    def __init__(self, needed: Sequence[str]) -> None:
        super().__init__(f"This key may not do that: it lacks the scope {' or '.join(needed)}. Use a key that has it.")
        self.needed = tuple(needed)


class CrossSite(ServiceError):
    """A browser says that another site's page caused this request."""

    def __init__(self) -> None:
        super().__init__("A page of another site asked the browser to send this. Send it from a program or this site.")


class FormRefused(ServiceError):
    """What was sent does not prove that a page of this session made it."""

    def __init__(self) -> None:
        super().__init__(
            "This was not sent by a form of your session, or the session is another one by now. Nothing was changed. "
            "Open the page again and send its form. Programs use the API instead."
        )


class OnlyLooking(ServiceError):
    """An auditor asked for a change."""

    def __init__(self) -> None:
        super().__init__("You are signed in as an auditor, who looks at everything and changes nothing. Ask an admin.")


class BodyTooLarge(ServiceError):
    """The body has more bytes than are accepted."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"The body has more than {limit} bytes, the most that is accepted here. Send it in parts.")
        self.limit = limit


class BodyTooSlow(ServiceError):
    """The rest of the body does not come."""

    def __init__(self) -> None:
        super().__init__("The body came too slowly, or not to its end. Nothing was done. Send it again, or in parts.")


class BodyNotOfType(ServiceError):
    """The body's Content-Type is not read here."""

    def __init__(self, accepted: Sequence[str]) -> None:
        super().__init__(f"The body's Content-Type is not one that is read here. Send {' or '.join(accepted)}.")


class BodyUnreadable(ServiceError):
    """The body cannot be parsed."""

    def __init__(self, why: str) -> None:
        super().__init__(f"The body cannot be read: {why}. Correct it and send it again.")


class IdempotencyKeyUnreadable(ServiceError):
    """The header Idempotency-Key cannot be read."""

    def __init__(self) -> None:
        super().__init__(
            "The header Idempotency-Key must hold one string of 1 to 255 characters in double quotes (RFC 9651). "
            'Nothing was done. Send it as `Idempotency-Key: "8e03978e-40d5-43dd"`.'
        )


class AskedTooOften(ServiceError):
    """The key has asked more often than it may."""

    def __init__(self, wait_s: int) -> None:
        """`wait_s`: in how many seconds it may ask again."""
        super().__init__(f"This key asks more often than it may. Nothing was done. Send it again in {wait_s} s.")
        self.wait_s = wait_s


class TooManyStreams(ServiceError):
    """The key has as many open streams as it may."""

    def __init__(self, most: int) -> None:
        """`most`: how many it may have in one process."""
        super().__init__(f"This key has {most} open streams, as many as it may. Close one, then open another.")


class CursorRefused(ServiceError):
    """The cursor is none that this list has given."""

    def __init__(self) -> None:
        super().__init__("The cursor is none of this list's. Begin without one, and follow the Link headers.")


class PreconditionFailed(ServiceError):
    """Somebody has changed it meanwhile."""

    def __init__(self) -> None:
        super().__init__(
            "It is not, or not any more, in the state that If-Match names. Nothing was changed: "
            "look at it again, decide again, and send the new ETag."
        )


class PreconditionRequired(ServiceError):
    """What is to be changed must be named."""

    def __init__(self) -> None:
        super().__init__(
            "This changes what others may change too. Nothing was changed: "
            "send If-Match with the ETag that the last GET answered, or `If-Match: *` for any state."
        )


@dataclass(frozen=True, slots=True)
class RowFault:
    """One thing that is wrong with some rows of an upload.

    member: the array, column or field. rows: the numbers of some of the rows, from 0. count: how many there are.
    """

    member: str
    why: str
    rows: tuple[int, ...]
    count: int

    def __str__(self) -> str:
        more = ", ..." if self.count > len(self.rows) else ""
        return f"{self.why} (rows {', '.join(map(str, self.rows))}{more})" if self.rows else self.why


class UploadRefused(ServiceError):
    """Records that were sent are not what they must be. Nothing of them was stored.

    faults: what is wrong where, with at most 20 row numbers in all; empty when it is wrong as a whole.
    """

    def __init__(self, why: str, advice: str, *, member: str | None = None, faults: Sequence[RowFault] = ()) -> None:
        self.why = why
        self.advice = advice
        self.faults = tuple(faults) or ((RowFault(member, why, (), 0),) if member is not None else ())
        super().__init__(f"Nothing was stored: {why}. {advice}.")


class InstancesRefused(ServiceError):
    """Records to predict for do not fit the model."""

    def __init__(self, why: str) -> None:
        super().__init__(f"The instances do not fit this model: {why}. Correct them and send them again.")
        self.why = why


class PlanRefused(ServiceError):
    """A model cannot be made that way."""

    def __init__(self, field: str, why: str) -> None:
        super().__init__(f"No model can be made like this: {why}. Correct it and send it again.")
        self.field = field
        self.why = why


class NotServing(ServiceError):
    """No version may answer now."""

    def __init__(self) -> None:
        super().__init__(
            "No version of this model may answer at this moment: the first is not published yet, or this process "
            "cannot confirm which is the newest. Ask again in a moment."
        )


class TooManyWaiting(ServiceError):
    """Too many predictions wait in this process."""

    def __init__(self) -> None:
        super().__init__(
            "More predictions wait in this process than it can compute soon. Nothing was computed: ask again in a "
            "moment, or send several records in one request."
        )


class VersionNotServed(ServiceError):
    """A version was named that does not answer."""

    def __init__(self) -> None:
        super().__init__(
            "That version does not answer: only the newest version of a model does, and older ones are destroyed. Ask "
            "without a version, or name the newest."
        )


class VersionGone(ServiceError):
    """The version's weights were destroyed."""

    def __init__(self, number: int) -> None:
        super().__init__(f"Version {number} is destroyed; its bytes exist no more. Ask about the active version.")


class RequestStuck(ServiceError):
    """A forget request will not complete by itself, and the client wants that as an error."""

    def __init__(self, state: str) -> None:
        super().__init__(
            f"The request is {state} and does not complete by itself. GET it without fail_as_error to see why; "
            "an administrator can retry its job, and then it goes on."
        )


class CertificateMissing(ServiceError):
    """The request has no certificate, or not yet."""

    def __init__(self, why: str) -> None:
        super().__init__(f"There is no certificate: {why}.")
