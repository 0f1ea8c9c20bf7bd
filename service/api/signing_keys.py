"""The keys that certificates are checked with, and those that are not to be trusted any more."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, Field

from ledger import signing_keys
from ledger.errors import NotFound
from ledger.log import proofs
from service.api.schemas import Items
from service.auth import Principal, needs
from service.context import context_of
from service.errors import documented
from service.key_lists import described, revocation_list

router = APIRouter(tags=["keys"])

SigningKeyId = Annotated[str, Path(pattern="^[0-9a-f]{16}$", description="Id of a signing key.")]


class SigningKey(BaseModel):
    """A public key that certificates and checkpoints can be checked with."""

    key_id: str = Field(description="First 16 hex digits of the SHA-256 of the key in DER.")
    public_key_pem: str
    state: str = Field(description="announced: signs next, and co-signs checkpoints; active; retired; revoked.")
    created_at: str | None = Field(None, description="When it was announced, or first noted.")
    activated_at: str | None = Field(None, description="From when on it signed alone; null: from the beginning.")
    retired_at: str | None = Field(None, description="From when on it signed no more.")
    revoked_at: str | None = Field(None, description="When it was said that it is not to be trusted.")
    not_after: str | None = Field(None, description="Of a revoked key: what is later counts for nothing.")
    log_size: int | None = Field(None, description="Of a revoked key: how many entries the log had then.")
    reason: str | None = Field(None, description=f"Of a revoked key: {', '.join(signing_keys.REASONS)}.")
    handover: dict[str, Any] | None = Field(
        None, description="The envelope by which it was announced, signed by the key before it and by itself."
    )


class SigningKeyShown(SigningKey):
    """One key, with the proof that its announcement stands in the log."""

    proof: str | None = Field(None, description="Place of the announcement in the log (C2SP tlog-proof).")


class Revocation(BaseModel):
    """A key that is not to be trusted from a time on."""

    key_id: str
    reason: str
    not_after: str = Field(description="What it signed later counts for nothing.")
    log_size: int = Field(description="How many entries the log had then; later entries do not count either.")
    revoked_at: str


class Revocations(BaseModel):
    """Everything that was revoked. Certificates are revoked with their key, never one by one."""

    log: str | None = Field(description="Name of the log that the sizes are of; null: nothing stands in it yet.")
    as_of: str = Field(description="When this list was made. An old copy may lack the newest.")
    items: list[Revocation]


@router.get("/v1/signing-keys", summary="Public keys of certificates", responses=documented())
def listed(request: Request, _: Annotated[Principal, needs()]) -> Items[SigningKey]:
    """All keys that sign or ever signed, oldest first. Keep them away from the service. Any valid key may ask."""
    ledger = context_of(request.scope).ledger
    with ledger.database.read() as tx:
        return Items(items=[SigningKey(**described(key)) for key in signing_keys.known(tx, ledger.ring)])


@router.get("/v1/signing-keys/{key_id}", summary="One public key", responses=documented(NotFound))
def one(key_id: SigningKeyId, request: Request, _: Annotated[Principal, needs()]) -> SigningKeyShown:
    """A key, how it was handed over to, and the place of that in the log. Any valid key may ask."""
    ledger = context_of(request.scope).ledger
    with ledger.database.read() as tx:
        key = signing_keys.get(tx, ledger.ring, key_id)
        return SigningKeyShown(**described(key), proof=proofs.of_announcement(tx, key_id))


@router.get("/v1/revocations", summary="Revoked keys", responses=documented())
def revocations(request: Request, _: Annotated[Principal, needs()]) -> Revocations:
    """What `lacuna verify certificate --revocations` reads. Fetch it anew for each check. Any valid key may ask."""
    with context_of(request.scope).ledger.database.read() as tx:
        return Revocations(**revocation_list(tx))
