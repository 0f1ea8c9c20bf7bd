"""What is refused about addresses that want to be told."""

from ledger.errors.base import LedgerError


class WebhookRefused(LedgerError):
    """Nothing is sent to this address. The message does not repeat it: it may carry a token."""

    def __init__(self, why: str) -> None:
        super().__init__(f"Nothing is sent to this address: {why}. Give another one, or ask the operator.")
        self.why = why
