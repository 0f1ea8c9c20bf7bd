"""Parts of pages that follow the ledger by themselves: a browser with scripts asks for them again every two seconds.

A part names itself by a digest of what it shows. Who asks again with that digest gets 304, and nothing moves on the
page. Without scripts a part is as old as its page, which then loads itself again while something is being done.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from fastapi import Request, Response
from fastapi.responses import HTMLResponse

from service.auth import Principal
from service.dashboard.pages import HEADERS, csrf_token, environment, may_change

FRAME = "live.html"


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a page: its HTML, the digest of that, where it is asked for again, and whether it may still change."""

    html: str
    etag: str
    address: str
    follow: bool


def make(
    request: Request, principal: Principal, template: str, address: str, *, follow: bool = True, **content: object
) -> Part:
    """Return the part that a template makes, which sees `may_change` and `csrf` for its forms, as pages do.

    Give it nothing that changes with every second, such as the time.
    """
    forms = {"may_change": may_change(principal), "csrf": csrf_token(request)}
    html = environment().get_template(template).render(**forms, **content)
    return Part(html, f'W/"{hashlib.sha256(html.encode()).hexdigest()[:32]}"', address, follow)


def answer(request: Request, part: Part) -> Response:
    """Return a part that a page asked for again, or 304 if the page shows it already."""
    headers = {**HEADERS, "Cache-Control": "private, no-cache", "ETag": part.etag}
    if part.etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return HTMLResponse(environment().get_template(FRAME).render(part=part), headers=headers)
