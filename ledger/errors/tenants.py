"""Keys, quotas and manners of those who ask."""

from ledger.errors.base import LedgerError


class KeyRefused(LedgerError):
    """The API key is unknown, expired or revoked; which of these is not said."""

    def __init__(self) -> None:
        super().__init__("The API key was refused: it is unknown, expired or revoked. Ask an administrator for a key.")


class PersonRefused(LedgerError):
    """Somebody cannot be let sign in like that."""

    def __init__(self, why: str) -> None:
        super().__init__(f"Nobody was added: {why}. Choose another.")


class PasswordRefused(LedgerError):
    """The password is too short or too long."""

    def __init__(self, shortest: int, longest: int) -> None:
        super().__init__(f"The password must have {shortest} to {longest} characters. Choose another one.")


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
