"""Facts to HTTP: the one table of which error has which status, and the RFC 9457 documents made from it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response
from starlette.routing import Match

from ledger import errors as facts
from service import refusals
from service.logs import places
from unlearning.errors import ArchitectureRefused, CoreRefused, OutOfRange, UnknownArchitecture

log = structlog.get_logger(__name__)

PROBLEM_JSON = "application/problem+json"
RETRY_AFTER_S = 1
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
BUSY = "The database does not answer in time or cannot be reached. Nothing was changed. Send the request again later."
RACE = "Another request made the same thing at the same moment. Look at what there is now, then decide."
MISSING = "Nothing answers at this address. See /openapi.json for the addresses that there are."
METHOD = "This address does not answer to that method. The Allow header names those it answers to."
UNKNOWN = "The service failed in a way that nobody expected. Tell its operator the request_id."
INVALID = "The request does not have the form that this address reads. `errors` says where; nothing was changed."


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of problem: its status, its stable name (the last part of `type`) and its title."""

    status: int
    name: str
    title: str

    @property
    def type(self) -> str:
        """The problem's `type`: an address relative to the service, where it is explained."""
        return f"/problems/{self.name}"


INVALID_REQUEST = Kind(422, "invalid-request", "The request has the wrong form")
NOT_FOUND = Kind(404, "not-found", "There is no such thing")
METHOD_NOT_ALLOWED = Kind(405, "method-not-allowed", "The address does not answer to this method")
UNEXPECTED = Kind(500, "unexpected", "The service failed unexpectedly")
STORE_DAMAGED = Kind(500, "store-damaged", "What is stored cannot be read")
UNAVAILABLE = Kind(503, "unavailable", "A part of the service cannot be reached")
WRONG_STATE = Kind(409, "wrong-state", "This cannot be done now")
IN_PROGRESS = Kind(409, "in-progress", "The same request is being done")
TOO_OFTEN = Kind(429, "too-often", "The key asks more often than it may")
UNREADABLE = Kind(400, "unreadable-body", "The body cannot be read")
TOO_LARGE = Kind(413, "too-large", "The body is too large")
NO_KEY = Kind(401, "no-key", "A valid API key is needed")
UPLOAD = Kind(422, "upload-refused", "The records are not what an upload must be")

KINDS: dict[type[Exception], Kind] = {
    refusals.NotAuthenticated: NO_KEY,
    facts.KeyRefused: NO_KEY,
    refusals.ScopeMissing: Kind(403, "scope-missing", "The key may not do this"),
    refusals.CrossSite: Kind(403, "cross-site", "Another site's page asked for this"),
    refusals.FormRefused: Kind(403, "form-refused", "The form is not one of this session"),
    refusals.OnlyLooking: Kind(403, "only-looking", "An auditor changes nothing"),
    refusals.BodyTooLarge: TOO_LARGE,
    refusals.BodyTooSlow: Kind(408, "too-slow", "The body came too slowly"),
    refusals.BodyNotOfType: Kind(415, "wrong-content-type", "The body's type is not read here"),
    refusals.BodyUnreadable: UNREADABLE,
    refusals.IdempotencyKeyUnreadable: Kind(400, "idempotency-key-unreadable", "The idempotency key cannot be read"),
    refusals.AskedTooOften: TOO_OFTEN,
    refusals.TooManyStreams: Kind(429, "too-many-streams", "The key has too many open streams"),
    refusals.CursorRefused: Kind(422, "cursor-refused", "The list has no such page"),
    refusals.PreconditionFailed: Kind(412, "changed-meanwhile", "Somebody has changed it meanwhile"),
    refusals.PreconditionRequired: Kind(428, "precondition-required", "The state that is to be changed must be named"),
    refusals.RequestStuck: Kind(409, "request-failed", "The forget request has failed"),
    refusals.UploadRefused: UPLOAD,
    refusals.InstancesRefused: Kind(422, "instances-refused", "The instances do not fit the model"),
    refusals.PlanRefused: Kind(422, "plan-refused", "No model can be made like this"),
    OutOfRange: Kind(422, "plan-refused", "No model can be made like this"),
    UnknownArchitecture: Kind(422, "unknown-architecture", "No network has this name"),
    ArchitectureRefused: Kind(422, "architecture-refused", "The operator's network cannot be used"),
    CoreRefused: Kind(422, "core-refused", "The file is not what an imported core must be"),
    refusals.NotServing: Kind(503, "not-serving", "No version may answer now"),
    refusals.TooManyWaiting: Kind(503, "too-many-waiting", "Too many predictions wait"),
    refusals.VersionNotServed: WRONG_STATE,
    refusals.VersionGone: WRONG_STATE,
    refusals.CertificateMissing: Kind(404, "no-certificate", "There is no certificate"),
    facts.NotFound: NOT_FOUND,
    facts.NameTaken: Kind(409, "name-taken", "The name is in use"),
    facts.WrongCohortKind: Kind(409, "wrong-cohort", "The cohort cannot serve for this"),
    facts.CoreNeverForgotten: Kind(409, "core-never-forgotten", "Core records cannot be forgotten"),
    facts.SelectorInvalid: Kind(422, "selector-invalid", "The request does not say what to forget"),
    facts.InvalidIdentifier: Kind(422, "identifier-invalid", "An identifier is malformed"),
    facts.RecordsClash: Kind(409, "records-clash", "Some records are stored already"),
    facts.SubjectSuppressed: Kind(409, "subject-suppressed", "Somebody in it asked to be forgotten"),
    facts.RecordsUnknown: Kind(409, "records-unknown", "Some records are not stored"),
    facts.SubjectHeld: Kind(409, "subject-held", "Some records are on hold"),
    facts.LineageBroken: Kind(409, "lineage-broken", "A model rests on data that is not public"),
    facts.ReasonRefused: Kind(422, "reason-refused", "The reason names somebody"),
    facts.WebhookRefused: Kind(422, "webhook-refused", "Nothing is sent to this address"),
    facts.UploadClosed: WRONG_STATE,
    facts.UploadIncomplete: WRONG_STATE,
    facts.OffsetMismatch: Kind(409, "wrong-offset", "The part does not begin where the last one ended"),
    facts.WrongState: WRONG_STATE,
    facts.ModelRetired: WRONG_STATE,
    facts.SuccessorPending: WRONG_STATE,
    facts.SuccessorNotReady: WRONG_STATE,
    facts.IdempotencyKeyReused: Kind(422, "idempotency-key-reused", "The idempotency key is another request's"),
    facts.StillInProgress: IN_PROGRESS,
    facts.SigningKeyRefused: WRONG_STATE,
    facts.UnknownTimeZone: Kind(422, "time-zone-unknown", "There is no such time zone"),
    facts.QuotaExceeded: Kind(403, "quota-exceeded", "The tenant has as much of this as it may have"),
    facts.OutputsInvalid: Kind(422, "outputs-invalid", "Predictions cannot be answered like that"),
    facts.LeakageSpent: Kind(403, "leakage-spent", "The key may learn no more of what the model has forgotten"),
    facts.TooManyOfOneSubject: Kind(403, "quota-exceeded", "The tenant has as much of this as it may have"),
    facts.LeaseLost: WRONG_STATE,
    facts.PublishConflict: WRONG_STATE,
    facts.StoreFull: Kind(507, "store-full", "There is no room left"),
    facts.StoreReadOnly: UNAVAILABLE,
    facts.StoreFailed: UNAVAILABLE,
    facts.KeyUnavailable: UNAVAILABLE,
    facts.SettingUnusable: UNAVAILABLE,
    facts.MigrationNeeded: UNAVAILABLE,
    facts.DowngradeRefused: UNAVAILABLE,
    facts.RolesRefused: UNAVAILABLE,
    facts.BrokerUnreachable: UNAVAILABLE,
    facts.PersonRefused: Kind(422, "person-refused", "Nobody can sign in like that"),
    facts.PasswordRefused: Kind(422, "password-refused", "The password cannot be used"),
    facts.LogDamaged: Kind(500, "log-damaged", "The transparency log is damaged"),
    facts.LedgerError: STORE_DAMAGED,
    OperationalError: UNAVAILABLE,
    InterfaceError: UNAVAILABLE,
    PoolTimeout: UNAVAILABLE,
    IntegrityError: WRONG_STATE,
}
DETAILS: dict[type[Exception], Callable[[Any], str]] = {
    # Its own message repeats what was sent as an id.
    facts.NotFound: lambda fact: f"There is no such {fact.what}. List what there is and use an id from the list.",
    DBAPIError: lambda _: BUSY,
    PoolTimeout: lambda _: BUSY,
    IntegrityError: lambda _: RACE,
    OutOfRange: lambda fact: f"{fact}.",
    UnknownArchitecture: lambda fact: f"{fact}.",
    ArchitectureRefused: lambda fact: f"{fact}.",
    CoreRefused: lambda fact: f"{fact}.",
}
EXPECTED = (facts.LedgerError, refusals.ServiceError, DBAPIError, PoolTimeout)
"""What middleware may meet outside the application's own handlers."""
ALL_KINDS = sorted(
    {*KINDS.values(), INVALID_REQUEST, METHOD_NOT_ALLOWED, UNEXPECTED}, key=lambda kind: (kind.status, kind.name)
)


class Fault(BaseModel):
    """One thing that is wrong with a request."""

    pointer: str = Field(description="Where: `#/...` in the body, or the name of a parameter.")
    detail: str = Field(description="What is wrong there. Never the value itself.")
    rows: list[int] | None = Field(None, description="Of an upload: the rows concerned, from 0; at most 20.")


class Problem(BaseModel):
    """An RFC 9457 problem document."""

    type: str = Field(description="Which kind of problem; stable, and explained at this address.")
    title: str = Field(description="The kind in words.")
    status: int = Field(description="The HTTP status again.")
    detail: str = Field(description="What happened, why, and what to do.")
    request_id: str | None = Field(None, description="Names this request in the service's log.")
    errors: list[Fault] | None = Field(None, description="Each thing that is wrong, where that is known.")


def kind_of(problem: BaseException) -> Kind | None:
    """Return the kind of an error or of its nearest known ancestor, None when nobody expected it."""
    return next((KINDS[cls] for cls in type(problem).__mro__ if cls in KINDS), None)


def respond(problem: Exception, scope: Any) -> Response:
    """Return the answer to an expected error and log its kind. `scope` is the request's ASGI scope."""
    kind = kind_of(problem) or UNEXPECTED
    if kind.status >= 500:
        log.warning("request.failed", problem=kind.name, raised=places(problem))
    detail = next((DETAILS[cls](problem) for cls in type(problem).__mro__ if cls in DETAILS), str(problem))
    faults = None
    if isinstance(problem, refusals.UploadRefused) and problem.faults:
        faults = [
            Fault(pointer=f"#/{fault.member}", detail=f"{fault}.", rows=list(fault.rows) or None)
            for fault in problem.faults
        ]
    elif isinstance(problem, facts.SubjectSuppressed):
        rows = problem.rows[: refusals.MOST_ROWS_SHOWN]
        faults = [Fault(pointer="#/subject", detail="These subjects asked to be forgotten.", rows=rows)]
    elif isinstance(problem, facts.RecordsUnknown | facts.SubjectHeld):
        rows = problem.rows[: refusals.MOST_ROWS_SHOWN]
        known = isinstance(problem, facts.SubjectHeld)
        what = "These records are on hold." if known else "No such record is stored, or it is being forgotten."
        faults = [Fault(pointer="#/id", detail=what, rows=rows or None)]
    elif isinstance(problem, refusals.PlanRefused):
        faults = [Fault(pointer=f"#/{problem.field}", detail=f"{problem.why}.")]
    headers = {"Upload-Offset": str(problem.expected)} if isinstance(problem, facts.OffsetMismatch) else None
    if isinstance(problem, refusals.AskedTooOften):
        headers = {"Retry-After": str(problem.wait_s)}
    return problem_response(kind, detail, scope, faults=faults, headers=headers)


def problem_response(
    kind: Kind, detail: str, scope: Any, *, faults: list[Fault] | None = None, headers: dict[str, str] | None = None
) -> Response:
    """Return a problem document with the headers that belong to its status."""
    headers = dict(headers or {})
    if kind.status == 503 or kind is IN_PROGRESS:
        headers["Retry-After"] = str(math.ceil(RETRY_AFTER_S))
    if kind.status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="lacuna"'
    if is_open_inference(scope["path"]):  # the protocol has a form of its own
        return JSONResponse({"error": detail}, status_code=kind.status, headers=headers)
    body = Problem(
        type=kind.type,
        title=kind.title,
        status=kind.status,
        detail=detail,
        request_id=scope.get("state", {}).get("request_id"),
        errors=faults,
    )
    return JSONResponse(
        body.model_dump(exclude_none=True), status_code=kind.status, headers=headers, media_type=PROBLEM_JSON
    )


def is_open_inference(path: str) -> bool:
    """Whether an address belongs to the Open Inference Protocol."""
    return path == "/v2" or path.startswith("/v2/")


def documented(*kinds: type[Exception]) -> dict[int | str, dict[str, Any]]:
    """Return OpenAPI's `responses` for these errors, and for those that any address may answer."""
    always = (INVALID_REQUEST, UNEXPECTED, UNAVAILABLE, NO_KEY, TOO_OFTEN, KINDS[refusals.ScopeMissing])
    by_status: dict[int | str, dict[str, Any]] = {}
    document(by_status, (*always, *(KINDS[cls] for cls in kinds)))
    return by_status


def document(
    by_status: dict[Any, dict[str, Any]], kinds: Iterable[Kind], *, status: Callable[[int], Any] = int
) -> None:
    """Add kinds of problems to OpenAPI's `responses`. `status` spells its keys, which a finished description has as
    strings. What stands there already stays.
    """
    for kind in dict.fromkeys(kinds):
        example = {"type": kind.type, "title": kind.title, "status": kind.status, "detail": "What to do about it."}
        entry = by_status.setdefault(status(kind.status), {"description": ""})
        told = entry.setdefault("content", {}).setdefault(PROBLEM_JSON, {"schema": _SCHEMA, "examples": {}})
        if kind.name in told["examples"]:
            continue
        entry["description"] = f"{entry['description']}; {kind.title}".removeprefix("; ")
        told["examples"][kind.name] = {"value": example}


_SCHEMA = {"$ref": "#/components/schemas/Problem"}


def install(app: FastAPI) -> None:
    """Make the application answer every error with a problem document."""
    for cls in (*EXPECTED, OutOfRange, UnknownArchitecture, ArchitectureRefused, CoreRefused):
        app.add_exception_handler(cls, _expected)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(Exception, _unexpected)


async def _expected(request: Request, problem: Exception) -> Response:
    if kind_of(problem) is None:
        return await _unexpected(request, problem)
    return respond(problem, request.scope)


async def _unexpected(request: Request, problem: Exception) -> Response:
    request_id = request.scope.get("state", {}).get("request_id")
    log.error("request.crashed", request_id=request_id, raised=places(problem))
    return problem_response(UNEXPECTED, UNKNOWN, request.scope)


async def _gone(request: Request, _problem: Exception) -> Response:
    return problem_response(UNREADABLE, "The body ended early. Send it again.", request.scope)


async def _http(request: Request, problem: Exception) -> Response:
    assert isinstance(problem, HTTPException)
    if problem.status_code == 405:
        return problem_response(METHOD_NOT_ALLOWED, METHOD, request.scope, headers={"Allow": _allowed(request)})
    if problem.status_code == 404:
        return problem_response(NOT_FOUND, MISSING, request.scope)
    if problem.status_code == 400:
        return respond(refusals.BodyUnreadable("it cannot be parsed as JSON"), request.scope)
    kind = next((kind for kind in ALL_KINDS if kind.status == problem.status_code), UNEXPECTED)
    return problem_response(kind, str(problem.detail), request.scope)


def _allowed(request: Request) -> str:
    """Return the methods of every route at this address; the router itself names those of the first one only."""
    routes = request.app.routes
    asked = [{**request.scope, "method": method} for method in METHODS]
    return ", ".join(one["method"] for one in asked if any(route.matches(one)[0] is Match.FULL for route in routes))


async def _invalid(request: Request, problem: Exception) -> Response:
    assert isinstance(problem, RequestValidationError)
    wrong = list(problem.errors())
    if any(fault["loc"][0] == "path" for fault in wrong):
        return problem_response(NOT_FOUND, MISSING, request.scope)
    return problem_response(INVALID_REQUEST, INVALID, request.scope, faults=[_fault(fault) for fault in wrong[:20]])


def _fault(fault: dict[str, Any]) -> Fault:
    """Say where and what, without the value: an unknown field's name is a value too."""
    place, *path = fault["loc"]
    if fault["type"] == "json_invalid":
        return Fault(pointer="#", detail="This is not valid JSON.")
    if fault["type"] == "extra_forbidden":
        path = path[:-1]
        return Fault(pointer=_pointer(place, path), detail="An unknown field is here. See /openapi.json.")
    return Fault(pointer=_pointer(place, path), detail=str(fault["msg"]))


def _pointer(place: str, path: list[str | int]) -> str:
    if place == "body":
        return "#" + "".join(f"/{part}" for part in path)
    return "/".join(str(part) for part in path)
