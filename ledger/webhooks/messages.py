"""What a message says: its type, when, and of what; ids and states only, never an identity.

Source of the form: Standard Webhooks 1.0.0, "Payload structure".
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ledger.moments import rfc3339

Facts = Mapping[str, Any]
PING, JOB_FAILED = "ping", "job.failed"


@dataclass(frozen=True, slots=True)
class Message:
    """type: one of TYPES. data: ids, states, numbers and times."""

    type: str
    data: dict[str, Any]

    def body(self, at: int) -> bytes:
        """Return the bytes that are signed and sent. at: when it happened, UTC microseconds."""
        said = {"type": self.type, "timestamp": rfc3339(at), "data": self.data}
        return json.dumps(said, separators=(",", ":"), ensure_ascii=True).encode()


def _request(state: str | None) -> Callable[[str, Facts], dict[str, Any]]:
    def data(subject: str, facts: Facts) -> dict[str, Any]:
        said: dict[str, Any] = {"request": subject}
        if state is not None:
            said["state"] = state
        if "outcome" in facts:
            said["outcome"] = facts["outcome"]
        if "due_at" in facts:
            said["due_at"] = rfc3339(facts["due_at"])
        return said

    return data


def _published(subject: str, facts: Facts) -> dict[str, Any]:
    return {"version": subject, "model": facts["model"], "number": facts["number"]}


def _model(subject: str, _facts: Facts) -> dict[str, Any]:
    return {"model": subject}


_MEANING: dict[str, tuple[str, Callable[[str, Facts], dict[str, Any]]]] = {
    "forget.accepted": ("request.accepted", _request("accepted")),
    "forget.resolved": ("request.scrubbing", _request("scrubbing")),
    "forget.published": ("request.published", _request("published")),
    "forget.purging": ("request.purging", _request("purging")),
    "forget.completed": ("request.completed", _request("completed")),
    "forget.cancelled": ("request.cancelled", _request("cancelled")),
    "forget.extended": ("request.extended", _request(None)),
    "forget.due_soon": ("request.due_soon", _request(None)),
    "forget.stuck": ("request.failed", _request(None)),
    "version.published": ("version.published", _published),
    "model.destroyed": ("model.destroyed", _model),
}
KINDS = tuple(sorted(_MEANING))
"""The kinds of ledger events that are told outside."""
TYPES = (*sorted({kind for kind, _ in _MEANING.values()}), JOB_FAILED)
"""What an address may ask to be told of."""


def of_event(kind: str, subject: str, facts: Facts) -> Message | None:
    """Return what is told of a ledger event, None for events that are the ledger's own business."""
    found = _MEANING.get(kind)
    return None if found is None else Message(found[0], found[1](subject, facts))


def of_dead_job(job_id: int, kind: str, model_id: str | None) -> Message:
    """Return what is told of a job that was given up. Its error stays in the service: it may quote numbers."""
    return Message(JOB_FAILED, {"job": job_id, "kind": kind, **({} if model_id is None else {"model": model_id})})
