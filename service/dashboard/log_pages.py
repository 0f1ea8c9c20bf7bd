"""Pages about the transparency log: its checkpoints, whether it was tampered with, where an event stands in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from fastapi import Query, Request, Response
from fastapi.responses import HTMLResponse, StreamingResponse

from evidence.key_list import read_key
from ledger import signing_keys
from ledger.database import Transaction
from ledger.errors import NotFound
from ledger.ledger import Ledger
from ledger.log import lookup, proofs
from service.context import context_of
from service.dashboard import log_check, proof_steps
from service.dashboard.pages import HEADERS, Visitor, environment, page_router, render

CHECKPOINTS, EVENTS, FOUND = 20, 20, 50
SHARE = 0.1
"""How much more of the log must be done before that is said again."""
LINE = "<!-- here the answer grows -->"
"""Where the page is cut in two: what comes between the halves is sent as it happens."""

router = page_router()


@router.get("/log")
def log(request: Request, principal: Visitor) -> HTMLResponse:
    """The newest checkpoints and events."""
    with context_of(request.scope).ledger.database.read() as tx:
        return render(
            request,
            "log.html",
            principal,
            now=tx.now,
            checkpoints=proofs.checkpoints(tx, limit=CHECKPOINTS),
            events=lookup.newest(tx, principal.tenant_id, limit=EVENTS),
        )


@router.get("/log/check")
def check(request: Request, principal: Visitor) -> Response:
    """The whole log, recomputed. The page arrives while that goes on, so it needs no script to show how far it is."""
    context = context_of(request.scope)
    with context.ledger.database.read() as tx:
        frame = bytes(render(request, "log_check.html", principal, now=tx.now, line=LINE).body).decode()
    said = log_check.check(context.ledger, context.log_checking)
    # Compressed, it would wait in the compressor instead of being shown.
    headers = {**HEADERS, "Content-Encoding": "identity", "X-Accel-Buffering": "no"}
    return StreamingResponse(_growing(frame, said), media_type="text/html; charset=utf-8", headers=headers)


def _growing(frame: str, said: Iterator[float | log_check.Outcome]) -> Iterator[str]:
    """Yield the first half of the page, how far the check is, its outcome, and the second half."""
    head, _, tail = frame.partition(LINE)
    yield head
    shown = 0.0
    for each in said:
        if isinstance(each, log_check.Outcome):
            yield environment().get_template("log_outcome.html").render(outcome=each)
        elif each >= shown + SHARE:
            shown = each
            yield f"<li>{each:.0%} of the entries recomputed</li>\n"
    yield tail


@router.get("/log/proof")
def proof(
    request: Request,
    principal: Visitor,
    q: Annotated[str, Query(max_length=64)] = "",
    event: Annotated[int | None, Query(ge=1, le=lookup.LARGEST)] = None,
) -> HTMLResponse:
    """The events about an id, or the one of that number, and the proof that one of them stands in the log."""
    ledger = context_of(request.scope).ledger
    wanted = q.strip().lower() if event is None else str(event)
    with ledger.database.read() as tx:
        found = lookup.find(tx, principal.tenant_id, wanted, limit=FOUND) if wanted else []
        chosen = found[0] if len(found) == 1 else None
        return render(
            request,
            "log_proof.html",
            principal,
            now=tx.now,
            wanted=wanted,
            found=found,
            chosen=chosen,
            walk=None if chosen is None else _walk(tx, ledger, principal.tenant_id, chosen.event_id),
        )


def _walk(tx: Transaction, ledger: Ledger, tenant_id: str, event_id: int) -> proof_steps.Walk | None:
    """Return the walk from an event to the newest checkpoint; None while it has no place."""
    try:
        proof, leaf = lookup.proof(tx, tenant_id, event_id)
    except NotFound:
        return None
    known = signing_keys.known(tx, ledger.ring)
    revoked = [key.key_id for key in known if key.state == signing_keys.REVOKED]
    return proof_steps.walk(proof, leaf, [read_key(key.pem()) for key in known], revoked)
