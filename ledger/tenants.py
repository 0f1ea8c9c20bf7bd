"""Tenants and the keys that act for them."""

from __future__ import annotations

from sqlalchemy import or_, select

from ledger import api_keys
from ledger.database import Transaction
from ledger.errors import KeyRefused, KeyUnavailable
from ledger.identity import AliasHasher
from ledger.keys import KeyRing
from ledger.tables import ApiKey, Tenant

SCOPES = ("forget:write", "predict", "data:write", "models:write", "audit:read", "admin")


def create_tenant(tx: Transaction, ring: KeyRing, name: str) -> Tenant:
    """Add a tenant with an identifier key of its own, which is stored wrapped."""
    tenant_id = tx.new_id()
    wrapped = ring.wrap(tx.random(32), tenant_id.encode())
    tenant = Tenant(id=tenant_id, name=name, identifier_key=wrapped, change_seq=0, created_at=tx.now)
    tx.session.add(tenant)
    tx.session.flush()
    return tenant


def require_keys(tx: Transaction, ring: KeyRing) -> None:
    """Raise KeyUnavailable if the tenants' keys are closed with another master key than the ring's.

    A process whose key directory is another one, such as an empty folder where nothing is mounted, has just made keys
    of its own there. It must not start: it could answer nothing, and would fail the jobs of those who can.
    """
    tenant = tx.session.execute(select(Tenant).order_by(Tenant.created_at).limit(1)).scalar_one_or_none()
    if tenant is None:
        return
    try:
        ring.unwrap(tenant.identifier_key, tenant.id.encode())
    except KeyUnavailable as problem:
        raise KeyUnavailable(
            f"the master key in {ring.directory} is not the one that this database's keys are closed with"
        ) from problem


def alias_hasher(tx: Transaction, ring: KeyRing, tenant_id: str) -> AliasHasher:
    """Return what turns this tenant's identifiers into keyed hashes."""
    tenant = tx.session.get_one(Tenant, tenant_id)
    return AliasHasher(ring.unwrap(tenant.identifier_key, tenant_id.encode()))


def create_key(tx: Transaction, tenant_id: str, label: str, scopes: tuple[str, ...] = SCOPES) -> str:
    """Add an API key that does not expire and return it. It is shown this once: only its SHA-256 is kept."""
    return api_keys.create(tx, tenant_id, label, scopes)[1]


def authenticate(tx: Transaction, secret: str) -> ApiKey:
    """Return the key's row. Raises KeyRefused, without saying whether it is unknown, expired or revoked."""
    query = select(ApiKey).where(
        ApiKey.sha256 == api_keys.digest(secret),
        ApiKey.revoked_at.is_(None),
        or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > tx.now),
    )
    key = tx.session.execute(query).scalar_one_or_none()
    if key is None:
        raise KeyRefused
    return key


def tenant_name(tx: Transaction, tenant_id: str) -> str:
    """Return a tenant's name."""
    return tx.session.get_one(Tenant, tenant_id).name
