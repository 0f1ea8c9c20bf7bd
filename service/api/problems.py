"""What the `type` of a problem points to: every kind of problem, explained."""

from __future__ import annotations

from html import escape

from fastapi import APIRouter
from starlette.responses import HTMLResponse, JSONResponse, Response

from service.errors import ALL_KINDS

router = APIRouter(prefix="/problems", tags=["operations"], include_in_schema=False)


@router.get("")
async def list_all() -> Response:
    """List every kind of problem as a page."""
    rows = "".join(
        f"<tr><td>{kind.status}</td><td><code>{kind.type}</code></td><td>{escape(kind.title)}</td></tr>"
        for kind in ALL_KINDS
    )
    return HTMLResponse(
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Problems</title><h1>Problems</h1>'
        "<p>Every error is an RFC 9457 document. Its <code>type</code> is one of these and never changes its meaning; "
        "its <code>detail</code> says what happened and what to do.</p>"
        f"<table><thead><tr><th>Status</th><th>type</th><th>Meaning</th></tr></thead><tbody>{rows}</tbody></table></html>"
    )


@router.get("/{name}")
async def show(name: str) -> Response:
    """Explain one kind of problem."""
    found = [{"type": k.type, "title": k.title, "status": k.status} for k in ALL_KINDS if k.name == name]
    return JSONResponse({"items": found}, status_code=200 if found else 404)
