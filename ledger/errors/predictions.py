"""How keys are answered, and how much they may learn."""

from ledger.errors.base import LedgerError


class OutputsInvalid(LedgerError):
    """A key's predictions cannot be answered like that."""

    def __init__(self, why: str) -> None:
        super().__init__(f"Predictions cannot be answered like that: {why}. Nothing was changed. Correct it.")
        self.why = why


class LeakageSpent(LedgerError):
    """A client's budget of nats about forgotten records of a model is spent, or this answer would overdraw it."""

    def __init__(self) -> None:
        super().__init__(
            "This key may learn no more about the records that this model has forgotten: an answer would go beyond its "
            "budget. Waiting does not help. An administrator can raise the budget, or let it only warn or coarsen."
        )
