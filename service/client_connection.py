"""The client's connection: one service, one key, and how refusals become facts."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Self

import httpx

from service.client_errors import ApiProblem, ServiceUnreachable, WaitedTooLong

Json = dict[str, Any]

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 0.5


def settings(base_url: str, key: str, timeout_s: float) -> dict[str, Any]:
    """Return what every client of ours gives httpx."""
    return {
        "base_url": base_url.rstrip("/"),
        "headers": {"Authorization": f"Bearer {key}"},
        "timeout": timeout_s,
        "trust_env": False,  # a proxy of the environment must not see records
    }


class Connection:
    """One service and one key. Close it, or use it in a `with` block.

    Every method may raise ApiProblem (the service refused) and ServiceUnreachable (nobody answered).
    """

    def __init__(
        self, base_url: str, key: str, *, timeout_s: float = 60.0, transport: httpx.BaseTransport | None = None
    ) -> None:
        """`transport` is for tests that answer in the service's place."""
        self.base_url = base_url.rstrip("/")
        self._http = httpx.Client(transport=transport, **settings(base_url, key, timeout_s))

    def __enter__(self) -> Self:
        """Return the client itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connections."""
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def call(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        """Send one request; `arguments` as in httpx."""
        try:
            response = self._http.request(method, path, **arguments)
        except (httpx.TransportError, httpx.InvalidURL) as problem:
            raise ServiceUnreachable(self.base_url, str(problem) or type(problem).__name__) from problem
        if response.is_success:
            return response
        raise ApiProblem.of(response)

    def json(self, method: str, path: str, **arguments: Any) -> Json:
        """Send one request and return the object that is answered; `arguments` as in httpx."""
        answer: Json = self.call(method, path, **arguments).json()
        return answer

    def items(self, path: str, params: Mapping[str, Any] | None = None) -> list[Json]:
        """Return the list that stands at a path: all of its pages, or the first `limit` items if params say so."""
        page = self.call("GET", path, params=params)
        items: list[Json] = page.json()["items"]
        while "limit" not in (params or {}) and (more := page.links.get("next")) is not None:
            page = self.call("GET", more["url"])
            items += page.json()["items"]
        return items


def wait(look: Callable[[], Json], ended: Callable[[Json], bool], what: str, timeout_s: float) -> Json:
    """Look again and again, less and less often; return what ended it. Raises WaitedTooLong, and what `ended` does."""
    until, pause_s = time.monotonic() + timeout_s, FIRST_PAUSE_S
    while True:
        last = time.monotonic() >= until
        if ended(now := look()):
            return now
        if last:
            raise WaitedTooLong(what, timeout_s)
        time.sleep(pause_s)
        pause_s = min(1.5 * pause_s, LONGEST_PAUSE_S)
