"""What all pages share: the frame around them, their headers, the way through them, and who may look.

The policy lets a page run scripts, take styles and send forms from and to this service only, and nothing inline, so
text that slipped into a page unescaped could not run.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from service.auth import ADMIN, Principal, needs
from service.dashboard import views
from service.dashboard.assets import assets
from service.dashboard.forms import guard

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    # With `no-referrer`, which other answers have, a browser would not say where a form comes from.
    "Referrer-Policy": "same-origin",
}
PLACES = (
    ("Overview", "/dashboard"),
    ("Requests", "/dashboard/requests"),
    ("Models", "/dashboard/models"),
    ("Cohorts", "/dashboard/cohorts"),
    ("Log", "/dashboard/log"),
    ("Keys", "/dashboard/keys"),
)

Visitor = Annotated[Principal, needs("audit:read")]
"""Who looks at a page: a person or a key that may read."""


@dataclass(frozen=True, slots=True)
class Place:
    """A link of the navigation, and whether the page shown lies behind it."""

    name: str
    address: str
    current: bool


def page_router() -> APIRouter:
    """Return a router for a group of pages. Make every page's router here: it refuses forms that prove too little."""
    return APIRouter(prefix="/dashboard", include_in_schema=False, dependencies=[Depends(guard)])


def navigation(path: str) -> list[Place]:
    """Return the links that every page has, seen from the page at `path`."""
    return [Place(name, at, path == at or (name != "Overview" and path.startswith(at + "/"))) for name, at in PLACES]


@cache
def environment() -> Environment:
    """Return the templates, with everything escaped and a missing name an error."""
    made = Environment(
        loader=PackageLoader("service.dashboard"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        moment=views.moment, day=views.day, duration=views.duration, short=views.short, percent=views.percent
    )
    made.globals["asset"] = assets().address
    return made


def render(
    request: Request, name: str, principal: Principal | None, *, status: int = 200, **content: object
) -> HTMLResponse:
    """Return the page made from a template. Give the time it shows (`now`, UTC microseconds) with its content.

    Every template also sees `who` (None before signing in), `places`, `may_change` and `csrf`, which each form
    sends back in a hidden field of that name.
    """
    text = (
        environment()
        .get_template(name)
        .render(
            who=principal,
            places=navigation(request.url.path) if principal is not None else [],
            may_change=may_change(principal),
            csrf=csrf_token(request),
            **content,
        )
    )
    return HTMLResponse(text, status_code=status, headers=HEADERS)


def may_change(principal: Principal | None) -> bool:
    """Whether this principal may do more than look."""
    return principal is not None and ADMIN in principal.scopes


def csrf_token(request: Request) -> str:
    """Return what proves that a form was made by a page of this session."""
    return str(getattr(request.state, "form_token", ""))
