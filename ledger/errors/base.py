"""The root of the ledger's errors."""


class LedgerError(Exception):
    """Base of everything the ledger raises on purpose."""
