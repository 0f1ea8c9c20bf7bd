"""Server-sent events (WHATWG HTML): a request's states, or everything that happens to a tenant, as it happens."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from ledger import api_keys, requests
from ledger.errors import NotFound
from ledger.ledger import Ledger
from ledger.log import following
from ledger.log.following import Step
from service.api.schemas import RequestId
from service.auth import Principal, needs
from service.context import context_of
from service.errors import documented
from service.refusals import CursorRefused, TooManyStreams
from service.streams.hub import Hub, Stream

router = APIRouter(prefix="/v1", tags=["events"])

HEARTBEAT_S = 15.0
"""Longest silence: proxies close what is silent, and a client that is gone is noticed."""
PATIENCE_S = 30.0
"""How long a client may take to read one event."""
PAGE = 500
ENDED = ("completed", "cancelled")
EVENT_STREAM = "text/event-stream"
LastEventId = Annotated[
    str | None,
    Header(description="The `id` of the last event that was received: the stream goes on behind it."),
]
_STREAMED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A stream of events: `id`, `event` (as webhooks' types) and `data` (as webhooks' bodies). "
        "Ids and states only.",
        "content": {EVENT_STREAM: {"schema": {"type": "string"}}},
    },
}
_NOTHING_MORE: dict[int | str, dict[str, Any]] = {
    204: {"description": "The request has ended, and its last event was received."}
}


class EventStream(StreamingResponse):
    """A stream that is let go of however it ends."""

    media_type = EVENT_STREAM

    def __init__(self, content: AsyncIterator[str], hub: Hub, stream: Stream) -> None:
        super().__init__(content, headers={"X-Accel-Buffering": "no"})
        self._hub = hub
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_in_time(message: Message) -> None:
            async with asyncio.timeout(PATIENCE_S):
                await send(message)

        try:
            await super().__call__(scope, receive, send_in_time)
        except TimeoutError:
            return  # it does not read; it may come back and resume
        finally:
            self._hub.remove(self._stream)


@router.get(
    "/events",
    status_code=200,
    summary="Follow everything that happens",
    response_class=EventStream,
    responses=_STREAMED | documented(CursorRefused, TooManyStreams),
)
async def follow(
    request: Request, principal: Annotated[Principal, needs("audit:read")], last_event_id: LastEventId = None
) -> Response:
    """What happens to the tenant's forget requests and models from now on, or from behind `Last-Event-ID`."""
    start = _start(last_event_id)
    hub, ledger = request.app.state.streams, context_of(request.scope).ledger
    size = await run_in_threadpool(_size, ledger)
    stream = hub.open(principal.key_id, principal.tenant_id, None, size)
    lines = _lines(ledger, principal, stream, stream.start if start is None else start)
    return EventStream(lines, hub, stream)


@router.get(
    "/forget-requests/{request_id}/events",
    status_code=200,
    summary="Follow a forget request",
    response_class=EventStream,
    responses=_STREAMED | _NOTHING_MORE | documented(NotFound, CursorRefused, TooManyStreams),
)
async def follow_request(
    request_id: RequestId,
    request: Request,
    principal: Annotated[Principal, needs("forget:write", "audit:read")],
    last_event_id: LastEventId = None,
) -> Response:
    """What has happened to the request, then what happens, until it is completed or withdrawn; then the stream ends.

    Whoever comes back with the last `Last-Event-ID` after that gets 204, at which browsers stop coming back.
    """
    start = _start(last_event_id) or 0
    hub, ledger = request.app.state.streams, context_of(request.scope).ledger
    size, is_over = await run_in_threadpool(_look, ledger, principal.tenant_id, request_id, start)
    if is_over and start > 0:
        return Response(status_code=204)
    stream = hub.open(principal.key_id, principal.tenant_id, request_id, size)
    return EventStream(_lines(ledger, principal, stream, start), hub, stream)


def _start(last_event_id: str | None) -> int | None:
    """Return the place behind the last event that was received, None: no event was. Raises CursorRefused."""
    if not last_event_id:
        return None
    if not (last_event_id.isascii() and last_event_id.isdigit() and len(last_event_id) < 19):
        raise CursorRefused
    return int(last_event_id) + 1


def _size(ledger: Ledger) -> int:
    with ledger.database.read() as tx:
        return following.size(tx)


def _look(ledger: Ledger, tenant_id: str, request_id: str, start: int) -> tuple[int, bool]:
    """Return the log's size, and whether nothing comes behind `start`. Raises NotFound."""
    with ledger.database.read() as tx:
        row, size = requests.get(tx, tenant_id, request_id), following.size(tx)
        if row.state not in ENDED:
            return size, False
        seen = following.steps(tx, [tenant_id], start=0, end=min(start, size), limit=None, subject=request_id)
        return size, any(step.is_ending for step in seen)


async def _lines(ledger: Ledger, principal: Principal, stream: Stream, start: int) -> AsyncIterator[str]:
    yield "retry: 2000\n\n"
    async for step in _history(ledger, stream, start):
        yield _line(step)
        if stream.subject is not None and step.is_ending:
            return
    checked = time.monotonic()
    while True:
        try:
            async with asyncio.timeout(HEARTBEAT_S):
                step_or_end = await stream.next()
        except TimeoutError:
            yield ": still here\n\n"
        else:
            if step_or_end is None:
                return
            if step_or_end.position >= start:
                yield _line(step_or_end)
                if stream.subject is not None and step_or_end.is_ending:
                    return
        if time.monotonic() - checked >= HEARTBEAT_S:
            checked = time.monotonic()
            if not await run_in_threadpool(_still_opens, ledger, principal):
                return


async def _history(ledger: Ledger, stream: Stream, start: int) -> AsyncIterator[Step]:
    """Give what lies between `start` and what the hub sends."""
    while start < stream.start:
        page = await run_in_threadpool(_page, ledger, stream, start)
        for step in page:
            yield step
        if len(page) < PAGE:
            return
        start = page[-1].position + 1


def _page(ledger: Ledger, stream: Stream, start: int) -> list[Step]:
    with ledger.database.read() as tx:
        return following.steps(
            tx, [stream.tenant_id], start=start, end=stream.start, limit=PAGE, subject=stream.subject
        )


def _still_opens(ledger: Ledger, principal: Principal) -> bool:
    """Whether the stream's key has neither expired nor been revoked since."""
    with ledger.database.read() as tx:
        try:
            key = api_keys.get(tx, principal.tenant_id, principal.key_id)
        except NotFound:
            return False
        return api_keys.state(key, tx.now) == api_keys.ACTIVE


def _line(step: Step) -> str:
    return f"id: {step.position}\nevent: {step.type}\ndata: {step.body.decode()}\n\n"
