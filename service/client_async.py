"""The client for programs that wait for many things at once: what they ask of a running service.

Registering models and sending records is done once, and is `LacunaClient`'s; the two may be used side by side.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Self, cast

import httpx
import numpy.typing as npt

from service.client_connection import FIRST_PAUSE_S, LONGEST_PAUSE_S, Json, settings
from service.client_dry_runs import selection
from service.client_errors import ApiProblem, RequestFailed, ServiceUnreachable, WaitedTooLong
from service.client_events import Event, Following, follow_async
from service.client_types import ForgetRequest


class AsyncLacunaClient:
    """One service and one key. Use it in an `async with` block, or `await aclose()`.

    Every method may raise ApiProblem (the service refused) and ServiceUnreachable (nobody answered).
    """

    def __init__(
        self, base_url: str, key: str, *, timeout_s: float = 60.0, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        """`transport` is for tests that answer in the service's place."""
        self.base_url = base_url.rstrip("/")
        self._http = httpx.AsyncClient(transport=transport, **settings(base_url, key, timeout_s))

    async def __aenter__(self) -> Self:
        """Return the client itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connections."""
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def call(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        """Send one request; `arguments` as in httpx."""
        try:
            response = await self._http.request(method, path, **arguments)
        except (httpx.TransportError, httpx.InvalidURL) as problem:
            raise ServiceUnreachable(self.base_url, str(problem) or type(problem).__name__) from problem
        if response.is_success:
            return response
        raise ApiProblem.of(response)

    async def json(self, method: str, path: str, **arguments: Any) -> Json:
        """Send one request and return the object that is answered; `arguments` as in httpx."""
        answer: Json = (await self.call(method, path, **arguments)).json()
        return answer

    async def items(self, path: str, params: Mapping[str, Any] | None = None) -> list[Json]:
        """Return the list that stands at a path: all of its pages, or the first `limit` items if params say so."""
        page = await self.call("GET", path, params=params)
        items: list[Json] = page.json()["items"]
        while "limit" not in (params or {}) and (more := page.links.get("next")) is not None:
            page = await self.call("GET", more["url"])
            items += page.json()["items"]
        return items

    async def me(self) -> Json:
        """Return this key's tenant, label and scopes."""
        return await self.json("GET", "/v1/me")

    async def models(self) -> list[Json]:
        """Return all models, oldest first."""
        return await self.items("/v1/models")

    async def predict(self, model: str, x: npt.NDArray[Any], *, patience_s: float = 30.0) -> Json:
        """Return the predictions for records x (n, *shape). A 503 (no version or no lease yet) is tried again."""
        body, until = {"instances": x.tolist()}, time.monotonic() + patience_s
        while True:
            try:
                return await self.json("POST", f"/v1/models/{model}/predict", json=body)
            except ApiProblem as problem:
                if problem.status != httpx.codes.SERVICE_UNAVAILABLE or time.monotonic() > until:
                    raise
                await asyncio.sleep(min(problem.retry_after_s or LONGEST_PAUSE_S, 2.0))

    async def forget(
        self,
        *,
        subjects: Sequence[str] = (),
        subject_type: str = "controller_customer_id",
        record_ids: Sequence[str] = (),
        labels: Sequence[int] = (),
        everything: bool = False,
        cohorts: Sequence[str] = (),
        regulation: str | None = None,
        idempotency_key: str | None = None,
    ) -> ForgetRequest:
        """Ask for records to be forgotten, selected in exactly one way. Returns the request, stored durably.

        Sent again with the same `idempotency_key` within 24 hours, it returns the same request and files no other.
        """
        body = selection(
            subjects=subjects,
            subject_type=subject_type,
            record_ids=record_ids,
            labels=labels,
            everything=everything,
            cohorts=cohorts,
            regulation=regulation,
        )
        headers = {} if idempotency_key is None else {"Idempotency-Key": f'"{idempotency_key}"'}
        return cast(ForgetRequest, await self.json("POST", "/v1/forget-requests", json=body, headers=headers))

    async def request(self, request: str) -> ForgetRequest:
        """Return one forget request."""
        return cast(ForgetRequest, await self.json("GET", f"/v1/forget-requests/{request}"))

    async def requests(self, *, state: str | None = None, limit: int = 100) -> list[ForgetRequest]:
        """Return the newest forget requests."""
        params: Json = {"limit": limit} | ({"state": state} if state else {})
        return cast(list[ForgetRequest], await self.items("/v1/forget-requests", params))

    async def cancel(self, request: str) -> ForgetRequest:
        """Withdraw a forget request that nothing has been done about."""
        return cast(ForgetRequest, await self.json("DELETE", f"/v1/forget-requests/{request}"))

    async def certificate(self, request: str) -> bytes:
        """Return the signed certificate (a DSSE envelope) of a completed request, byte for byte."""
        return (await self.call("GET", f"/v1/forget-requests/{request}/certificate")).content

    async def wait_for_request(self, request: str, *, timeout_s: float = 600.0) -> ForgetRequest:
        """Return the forget request once it is completed. Raises RequestFailed, WaitedTooLong."""
        until, pause_s = time.monotonic() + timeout_s, FIRST_PAUSE_S
        while True:
            last, now = time.monotonic() >= until, await self.request(request)
            if now["state"] in ("failed", "cancelled"):
                raise RequestFailed(request, now["state"], now["error"])
            if now["state"] == "completed":
                return now
            if last:
                raise WaitedTooLong(f"forget request {request}", timeout_s)
            await asyncio.sleep(pause_s)
            pause_s = min(1.5 * pause_s, LONGEST_PAUSE_S)

    def follow(self, request: str | None = None, *, after: str | None = None) -> AsyncIterator[Event]:
        """Give what happens, to one forget request (until it ends) or to everything; see `LacunaClient.follow`."""
        following = Following.of(request, after)
        return follow_async(self._http, self.base_url, following, pause=asyncio.sleep)
