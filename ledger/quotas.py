"""How much a tenant may have at once.

No quota looks at stored records: whether somebody's are accepted would then depend on other people's.
"""

from __future__ import annotations

from sqlalchemy import func, select

from ledger import changes
from ledger.database import Transaction
from ledger.errors import QuotaExceeded
from ledger.tables import ForgetRequest, Model

ENDED = ("completed", "cancelled")
GONE = ("destroyed",)


def require_room_for_model(tx: Transaction, tenant_id: str, most: int | None) -> None:
    """Raise QuotaExceeded if the tenant has `most` models or more, generations and failed ones included."""
    if most is not None:
        changes.lock_sequence(tx, tenant_id)  # two at once must not both find room
        mine = select(func.count()).select_from(Model).where(Model.tenant_id == tenant_id, Model.state.not_in(GONE))
        _require(tx.session.execute(mine).scalar_one(), most, "models", "Delete one that is not needed")


def room_for_requests(tx: Transaction, tenant_id: str, most: int | None) -> int | None:
    """Return how many more forget requests the tenant may have, None: any number. Nobody else adds any meanwhile."""
    if most is None:
        return None
    changes.lock_sequence(tx, tenant_id)
    mine = select(func.count()).select_from(ForgetRequest)
    mine = mine.where(ForgetRequest.tenant_id == tenant_id, ForgetRequest.state.not_in(ENDED))
    return max(0, most - tx.session.execute(mine).scalar_one())


def no_room_for_request(most: int) -> QuotaExceeded:
    """Return the refusal of a forget request when `most` have not ended."""
    return QuotaExceeded(most, "forget requests that have not ended", "Send it again once one has ended")


def _require(found: int, most: int, what: str, advice: str) -> None:
    if found >= most:
        raise QuotaExceeded(most, what, advice)
