"""Model versions, and comparing their bytes without publishing them."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from ledger import artifacts, catalog, generations, tables
from ledger.errors import NotFound, ObjectMissing
from service.api.paging import NEXT_PAGE, Paged
from service.api.schemas import Body, Items, ModelId, VersionNumber
from service.auth import Principal, needs
from service.context import context_of
from service.errors import documented
from service.moments import rfc3339, when
from service.refusals import CursorRefused, VersionGone

router = APIRouter(prefix="/v1/models", tags=["versions"])

_READERS = ("models:write", "audit:read")


class Version(BaseModel):
    """The fold of the ledger's changes up to `applied_seq`."""

    number: int = Field(description="Unique among all generations of the model.")
    generation: int = Field(description="The configuration that it was solved under.")
    state: str = Field(description="active, superseded or destroyed.")
    anchor_number: int = Field(description="The last version at which the statistics were computed from all rows.")
    applied_seq: int
    weights_commitment: str = Field(description="HMAC-SHA256 of the weights under a salt that dies with them.")
    statistics_commitment: str
    solver_fingerprint: str = Field(description="Names the program and libraries that solved.")
    checks: dict[str, Any] = Field(description="What was checked before it was published.")
    measured: dict[str, Any] | None = Field(description="For the operator; gone once the version is destroyed.")
    created_at: str
    destroyed_at: str | None


class Challenge(Body):
    """Random bytes of the auditor's."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"challenge": "00112233445566778899aabbccddeeff"}]})
    challenge: Annotated[str, StringConstraints(pattern="^([0-9a-fA-F]{2}){16,64}$")] = Field(
        description="16 to 64 bytes in hexadecimal."
    )


class Digests(BaseModel):
    """HMAC-SHA256 under the challenge, in hexadecimal."""

    weights: str
    statistics: str


def shown(version: tables.ModelVersion, generation: int) -> Version:
    """Return a version as it is answered."""
    return Version(
        number=version.number,
        generation=generation,
        state=version.state,
        anchor_number=version.anchor_number,
        applied_seq=version.applied_seq,
        weights_commitment=version.weights_commitment,
        statistics_commitment=version.statistics_commitment,
        solver_fingerprint=version.solver_fingerprint,
        checks=version.checks,
        measured=version.measured,
        created_at=when(version.created_at),
        destroyed_at=rfc3339(version.destroyed_at),
    )


@router.get(
    "/{model_id}/versions", summary="List a model's versions", responses=NEXT_PAGE | documented(NotFound, CursorRefused)
)
def list_all(
    model_id: ModelId, request: Request, principal: Annotated[Principal, needs(*_READERS)], page: Paged
) -> Items[Version]:
    """The versions of all generations, newest first, destroyed ones too."""
    with context_of(request.scope).ledger.database.read() as tx:
        after = page.after(int)
        found = catalog.list_versions(tx, principal.tenant_id, model_id, limit=page.limit, after=after)
        return Items(items=[shown(*row) for row in page.cut(found, lambda row: (row[0].number,))])


@router.get("/{model_id}/versions/{number}", summary="Show a version", responses=documented(NotFound))
def show(
    model_id: ModelId, number: VersionNumber, request: Request, principal: Annotated[Principal, needs(*_READERS)]
) -> Version:
    """One version, with what was checked before it was published."""
    with context_of(request.scope).ledger.database.read() as tx:
        version = catalog.get_version(tx, principal.tenant_id, model_id, number)
        return shown(version, generations.of(tx, version.model_id).number)


@router.post(
    "/{model_id}/versions/{number}/digests",
    summary="Digests of a version's bytes under a challenge",
    responses=documented(NotFound, VersionGone),
)
def digests(
    body: Challenge,
    model_id: ModelId,
    number: VersionNumber,
    request: Request,
    principal: Annotated[Principal, needs("audit:read")],
) -> Digests:
    """Send the same challenge to two services: equal digests mean equal weights and statistics, byte for byte.

    A fresh challenge makes the digests useless to anybody else. 409 once the version is destroyed.
    """
    ledger = context_of(request.scope).ledger
    with ledger.database.read() as tx:
        version = catalog.get_version(tx, principal.tenant_id, model_id, number)
    if version.weights_object is None or version.statistics_object is None:
        raise VersionGone(number)
    try:
        _, weights = artifacts.open_artifact(
            ledger, version.weights_object, artifacts.weights_context(version.model_id)
        )
        _, statistics = artifacts.open_artifact(
            ledger, version.statistics_object, artifacts.statistics_context(version.model_id)
        )
    except ObjectMissing as problem:  # it was destroyed a moment ago
        raise VersionGone(number) from problem
    challenge = bytes.fromhex(body.challenge)
    return Digests(
        weights=artifacts.challenge_digest(challenge, weights),
        statistics=artifacts.challenge_digest(challenge, statistics),
    )
