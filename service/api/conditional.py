"""`ETag` and `If-Match` (RFC 9110, section 13.1.1): nobody changes what somebody else has changed meanwhile."""

from __future__ import annotations

import hashlib
import re
from typing import Annotated, Any

from fastapi import Depends, Header, Request, Response
from pydantic import BaseModel

from service.refusals import PreconditionFailed, PreconditionRequired

_TAGS = re.compile(r'\s*(W/)?("[\x21\x23-\x7e\x80-\xff]*")\s*(?:,|$)')

TAGGED: dict[int | str, dict[str, Any]] = {
    200: {"headers": {"ETag": {"description": "Names this state, for `If-Match`.", "schema": {"type": "string"}}}}
}
"""What OpenAPI says about an answer with a tag."""


def entity_tag(body: BaseModel) -> str:
    """Return the strong tag of what is answered: equal states, equal tags."""
    return f'"{hashlib.sha256(body.model_dump_json().encode()).hexdigest()[:32]}"'


def tag(response: Response, body: BaseModel) -> None:
    """Put the tag of a body into the headers of its answer."""
    response.headers["ETag"] = entity_tag(body)


class Expected:
    """The state that a client wants to change, as it said with `If-Match`; None: it said nothing."""

    def __init__(self, header: str | None) -> None:
        """`header` holds `*` or tags, separated by commas."""
        self._header = header

    @property
    def is_named(self) -> bool:
        """Whether the client said something."""
        return self._header is not None

    def check(self, now: BaseModel, *, required: bool = False) -> None:
        """Raise PreconditionFailed unless `now` is that state; PreconditionRequired if one had to be named."""
        if self._header is None:
            if required:
                raise PreconditionRequired
            return
        if self._header.strip() == "*":
            return
        # A weak tag never matches here: RFC 9110, section 8.8.3.2, strong comparison.
        named = {found[2] for found in _TAGS.finditer(self._header) if found[1] is None}
        if entity_tag(now) not in named:
            raise PreconditionFailed


def _expected(
    request: Request,
    if_match: Annotated[
        str | None, Header(description="The `ETag` of the state that is to be changed, or `*` for any.")
    ] = None,
) -> Expected:
    said = request.headers.getlist("If-Match")
    return Expected(", ".join(said) if if_match is not None else None)


IfMatch = Annotated[Expected, Depends(_expected)]
"""What an endpoint takes that changes what others may change too."""
