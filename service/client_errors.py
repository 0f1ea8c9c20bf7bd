"""What can go wrong for a client of the service.

ClientError
├── ApiProblem           the service answered, and refused
├── ServiceUnreachable   nobody answered
├── JobFailed            a job that was waited for has failed
├── RequestFailed        a forget request that was waited for has failed or was cancelled
├── UploadFailed         a file that was sent in parts was not stored
└── WaitedTooLong        it is not done yet
"""

from __future__ import annotations

from typing import Any, Self

import httpx


class ClientError(Exception):
    """Base of everything the client raises on purpose."""


class ApiProblem(ClientError):
    """The service refused; the fields are those of its answer (RFC 9457, problem details)."""

    def __init__(
        self, status: int, title: str, detail: str, type: str = "about:blank", retry_after_s: float | None = None
    ) -> None:
        """`type` is the problem's URI."""
        super().__init__(f"{title} ({status}). {detail}".strip())
        self.status = status
        self.title = title
        self.detail = detail
        self.type = type
        self.retry_after_s = retry_after_s

    @classmethod
    def of(cls, response: httpx.Response) -> Self:
        """Read an answer that is no success, also one that some proxy gave in plain text."""
        fields: Any = {}
        if "json" in response.headers.get("Content-Type", ""):
            try:
                fields = response.json()
            except ValueError:
                fields = {}
        if not isinstance(fields, dict):
            fields = {}
        wait = response.headers.get("Retry-After", "")
        return cls(
            response.status_code,
            str(fields.get("title") or response.reason_phrase or "The service refused"),
            str(fields.get("detail") or ""),
            str(fields.get("type") or "about:blank"),
            float(wait) if wait.isdigit() else None,
        )


class ServiceUnreachable(ClientError):
    """Nobody answered at the address."""

    def __init__(self, url: str, why: str) -> None:
        """`why` is what the connection said."""
        super().__init__(f"No service answers at {url}: {why}. Start one with `lacuna server`, or correct the address.")
        self.url = url


class JobFailed(ClientError):
    """A job has failed. Its message says why."""

    def __init__(self, job: int | str, why: str) -> None:
        """`why` is the error that the job left."""
        super().__init__(f"Job {job} failed: {why}")


class RequestFailed(ClientError):
    """A forget request will not complete by itself."""

    def __init__(self, request: str, state: str, why: str | None) -> None:
        """`state` is failed or cancelled."""
        super().__init__(f"Forget request {request} is {state}" + (f": {why}" if why else "."))


class UploadFailed(ClientError):
    """A file was not stored."""

    def __init__(self, upload: str, why: str) -> None:
        """`upload` is empty when it was not even begun."""
        super().__init__(f"Upload {upload} has failed: {why}" if upload else f"Nothing was sent: {why}.")


class WaitedTooLong(ClientError):
    """It is not done yet. It goes on by itself; ask again later."""

    def __init__(self, what: str, timeout_s: float) -> None:
        """`timeout_s` is how long was waited, in seconds."""
        super().__init__(f"Waited {timeout_s:g} s for {what}, which goes on by itself. Ask again later.")


class WebhookNotGenuine(ClientError):
    """A message that came by webhook is not the service's, was changed on its way, or is too old."""

    def __init__(self) -> None:
        """Why is not told to whoever sent it."""
        super().__init__(
            "The message is not signed with this secret, or its time is wrong. Answer 400, and do nothing."
        )
