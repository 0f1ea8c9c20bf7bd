"""`Prefer: respond-async, wait=n` (RFC 7240): wait a while for the end of what was accepted."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header, Request

LONGEST_WAIT_S = 30

_WAIT = re.compile(r'wait\s*=\s*(?:"([0-9]{1,9})"|([0-9]{1,9}))\s*(?:;.*)?', re.IGNORECASE)
_ASYNC = re.compile(r"respond-async\s*(?:;.*)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Preference:
    """wait_s: how long to wait for the end, None: not at all. applied: what `Preference-Applied` says of it."""

    wait_s: int | None
    applied: str | None


def read(headers: list[str]) -> Preference:
    """Read the Prefer headers. What is not known or not well formed is no preference: RFC 7240, section 2."""
    said = [one.strip() for header in headers for one in header.split(",")]
    waits = [found for found in (_WAIT.fullmatch(one) for one in said) if found is not None]
    if not waits:
        return Preference(None, "respond-async" if any(_ASYNC.fullmatch(one) for one in said) else None)
    wait_s = min(int(waits[0][1] or waits[0][2]), LONGEST_WAIT_S)  # said twice: the first one counts
    asked = "respond-async, " if any(_ASYNC.fullmatch(one) for one in said) else ""
    return Preference(wait_s, f"{asked}wait={wait_s}")


def _preference(
    request: Request,
    prefer: Annotated[
        str | None,
        Header(description=f"`respond-async, wait=n`: wait up to n seconds, at most {LONGEST_WAIT_S}, for the end."),
    ] = None,
) -> Preference:
    return read(request.headers.getlist("Prefer")) if prefer is not None else Preference(None, None)


Preferred = Annotated[Preference, Depends(_preference)]
"""What an endpoint takes that may wait for what it has begun."""
