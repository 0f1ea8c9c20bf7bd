"""Signing keys that cannot be rotated or revoked as asked."""

from ledger.errors.base import LedgerError


class SigningKeyRefused(LedgerError):
    """A signing key cannot be rotated or revoked like this. Nothing was changed."""

    def __init__(self, why: str) -> None:
        super().__init__(f"No signing key was changed: {why}.")
        self.why = why
