"""Receipts: the salts that open a certificate's commitment to what its request named.

The certificate and the request's row hold one salted root. Its salts come from a random seed that is stored sealed,
for as long as the receipt can be fetched: until `KEPT_US` after the completion, or until its owner lets go of it. After
that only receipts that were fetched open the commitment. No name is stored: salted hashes of names are sealed with the
seed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from sqlalchemy import delete, select, update

from evidence.commitment import SALT_SIZE, Commitment, What, salt
from evidence.receipt import Receipt
from ledger import tables
from ledger.database import Transaction
from ledger.errors import LedgerError, NotFound, WrongState
from ledger.events import canonical_bytes
from ledger.keys import KeyRing
from ledger.sealed import seal, unseal
from ledger.selectors import Selector
from ledger.tables import ForgetRequest

KEPT_US = 30 * 86_400_000_000
"""How long after the completion a receipt can be fetched."""


def issue(tx: Transaction, ring: KeyRing, request: ForgetRequest, selector: Selector) -> None:
    """Commit a request that has just been accepted to what it names, so that its certificate can be opened."""
    names = _names(selector)
    made = Commitment.to(tx.random(SALT_SIZE), names)
    request.commitment = made.root().hex()
    secret = {
        "seed": made.seed.hex(),
        "leaves": "".join(leaf.hex() for leaf in made.leaves),
        "what": [list(what) for what, _ in names],
    }
    sealed = seal(canonical_bytes(secret), ring=ring, context=_context(request), random=tx.random)
    tx.session.add(tables.Receipt(request_id=request.id, sealed=sealed))


def issue_all(
    tx: Transaction, ring: KeyRing, selectors: Iterable[Selector], outcomes: Iterable[ForgetRequest | LedgerError]
) -> None:
    """Do what `issue` does for each of these selectors that was accepted (`filing.accept_all`)."""
    for selector, request in zip(selectors, outcomes, strict=True):
        if isinstance(request, ForgetRequest):
            issue(tx, ring, request, selector)


def _names(selector: Selector) -> list[tuple[What, str]]:
    """Return what is named, in the order of the request."""
    if selector.subjects:
        # A hash or a raw identifier, as the ledger looks it up; the type in the ledger's spelling of it.
        return [(("subject", one.type.strip().lower(), one.format), one.value) for one in selector.subjects]
    if selector.record_ids:
        return [(("record",), name) for name in selector.record_ids]
    if selector.labels:
        return [(("label",), str(label)) for label in selector.labels]
    return [(("everything",), "everything")]


def get(tx: Transaction, ring: KeyRing, request: ForgetRequest, place: int) -> Receipt:
    """Return the receipt of the name at `place` (from 0, in the order of the request).

    Raises NotFound: it has expired, or never was, or the request names fewer; ObjectCorrupt.
    """
    row = tx.session.get(tables.Receipt, request.id)
    if row is None or request.commitment is None or (row.expires_at is not None and row.expires_at <= tx.now):
        raise NotFound("receipt of request", request.id)
    secret = json.loads(unseal(row.sealed, ring=ring, context=_context(request), name="receipt"))
    leaves = bytes.fromhex(secret["leaves"])
    made = Commitment(bytes.fromhex(secret["seed"]), tuple(leaves[i : i + 32] for i in range(0, len(leaves), 32)))
    if place >= len(made.leaves):
        raise NotFound("receipt of request", f"{request.id}, number {place}")
    return Receipt(
        commitment=bytes.fromhex(request.commitment),
        what=tuple(secret["what"][place]),
        salt=salt(made.seed, place),
        leaf=made.leaves[place],
        place=place,
        size=made.size,
        path=tuple(made.path(place)),
    )


def let_go(tx: Transaction, request: ForgetRequest) -> None:
    """Destroy the service's copy of the salts; what was fetched still opens the certificate.

    Raises NotFound: there is none; WrongState: the request is not completed.
    """
    if tx.session.get(tables.Receipt, request.id) is None:
        raise NotFound("receipt of request", request.id)
    if request.state != "completed":
        raise WrongState("forget request", request.state, "completed")
    drop(tx, [request.id])
    request.commitment = None  # the certificate has it


def drop(tx: Transaction, request_ids: Sequence[str]) -> None:
    """Destroy the salts of requests that get no certificate."""
    tx.session.execute(delete(tables.Receipt).where(tables.Receipt.request_id.in_(request_ids)))


def completed(tx: Transaction, request: ForgetRequest) -> None:
    """Let the time begin to run out in which the receipt can be fetched; not while a hold will have it filed again."""
    if request.held and request.followed_by is None:
        return
    mine = tables.Receipt.request_id == request.id
    tx.session.execute(update(tables.Receipt).where(mine).values(expires_at=tx.now + KEPT_US))


def hand_over(tx: Transaction, stopped: ForgetRequest, follower: ForgetRequest) -> None:
    """Let the request that takes up a stopped one have its commitment too: its certificate is opened by the same.

    The seal is bound to the commitment, so it need not be broken. The stopped one's copy now ends like every other.
    """
    row = tx.session.get(tables.Receipt, stopped.id)
    follower.commitment = stopped.commitment
    if row is not None:
        tx.session.add(tables.Receipt(request_id=follower.id, sealed=row.sealed))
        completed(tx, stopped)


def available(tx: Transaction, request_ids: Sequence[str]) -> frozenset[str]:
    """Return those of these requests whose receipts can be fetched now."""
    query = select(tables.Receipt.request_id, tables.Receipt.expires_at).where(
        tables.Receipt.request_id.in_(request_ids)
    )
    rows = tx.session.execute(query)
    return frozenset(row.request_id for row in rows if row.expires_at is None or row.expires_at > tx.now)


def drop_expired(tx: Transaction) -> int:
    """Destroy the salts whose time is over; return of how many requests."""
    over = select(tables.Receipt.request_id).where(tables.Receipt.expires_at <= tx.now)
    names = list(tx.session.execute(over).scalars())
    if names:
        drop(tx, names)
    return len(names)


def _context(request: ForgetRequest) -> bytes:
    return f"receipt:{request.commitment}".encode()
