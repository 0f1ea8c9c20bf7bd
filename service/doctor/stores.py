"""Where bytes lie: the object store, the disk, and the keys without which none of them opens."""

from __future__ import annotations

import hashlib
import shutil
import stat
from contextlib import suppress
from pathlib import Path

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from ledger.database import Random
from ledger.errors import KeyUnavailable, LedgerError, StoreFailed
from ledger.keys import MASTER, SIGNING, KeyRing, signers_in, signing_files
from ledger.objects import ObjectStore, new_name, open_store
from ledger.settings import LedgerSettings
from ledger.signing_keys import ACTIVE
from ledger.tables import SigningKey, StoredObject, Tenant
from service.doctor.finding import Finding, ok, wrong

SIZE = 100_000  # bytes of the object that is tried
LEAST_FREE_BYTES = 2**30
LIVE, NEWEST = "live", 16


def objects(settings: LedgerSettings, engine: Engine | None, random: Random) -> Finding:
    """Write an object, read it, delete it, and see that it is gone. It carries a random name and random bytes.

    Then look whether this is the store of that database (None: it cannot be asked).
    """
    advice = "Check the store, its address LACUNA_OBJECTS_URL, the credentials and the permissions."
    name, content = new_name(random), random(SIZE)
    try:
        store = open_store(settings.objects_url, Path(settings.data_dir) / "objects")
        store.verify()
        try:
            written = store.write(name, [content])
            same = store.read(name) == content and store.read_range(name, 7, 9) == content[7:16]
            store.delete(name)
        except BaseException:
            with suppress(StoreFailed):
                store.delete(name)
            raise
        if not same or written.sha256 != hashlib.sha256(content).hexdigest():
            return wrong("objects", "what was read is not what was written", advice)
        if store.exists(name):
            return wrong("objects", "an object is still there after it was deleted", advice)
        if engine is not None and (missing := _missing(store, engine)):
            return wrong(
                "objects",
                f"it works, but {missing} of the newest {NEWEST} objects that the database knows are not there",
                "Mount the store, or correct LACUNA_OBJECTS_URL and LACUNA_DATA_DIR; lost objects are in its backup.",
            )
    except LedgerError as problem:
        return wrong("objects", str(problem), advice)
    return ok("objects", "an object was written, read, and is gone after its deletion")


def _missing(store: ObjectStore, engine: Engine) -> int:
    """Return how many of the newest objects the store lacks; one that was forgotten meanwhile is not missed."""
    alive = select(StoredObject.name).where(StoredObject.state == LIVE)
    with Session(engine) as session:
        newest = session.execute(alive.order_by(StoredObject.created_at.desc()).limit(NEWEST)).scalars().all()
    gone = [name for name in newest if not store.exists(name)]
    with Session(engine) as session:
        return len(session.execute(alive.where(StoredObject.name.in_(gone))).all()) if gone else 0


def disk(settings: LedgerSettings, *, least_free_bytes: int = LEAST_FREE_BYTES) -> Finding:
    """Whether there is room in the data directory."""
    folder = Path(settings.data_dir)
    if not folder.is_dir():
        return wrong("disk", "the data directory is not there", "Correct LACUNA_DATA_DIR, or mount it.")
    free = shutil.disk_usage(folder).free
    said = f"{free / 2**30:.1f} GiB are free in the data directory"
    if free < least_free_bytes:
        return wrong("disk", said, f"Make room: {least_free_bytes / 2**30:.1f} GiB at least. Work waits without it.")
    return ok("disk", said)


def keys(settings: LedgerSettings, engine: Engine | None, random: Random) -> Finding:
    """Whether the keys are there, closed to others, and those of this database (None: it cannot be asked)."""
    folder = Path(settings.key_dir) if settings.key_dir else Path(settings.data_dir) / "keys"
    signing = signing_files(folder)
    for file in (folder / MASTER, *(signing or [folder / SIGNING])):
        name = file.name
        try:
            mode = file.stat().st_mode
        except OSError as problem:  # asked before opening the ring, which would make new keys
            return wrong(
                "keys", f"{name} is not there ({problem.strerror})", "Restore the key directory from its own backup."
            )
        if stat.S_IMODE(mode) & (stat.S_IRWXO | stat.S_IWGRP):
            return wrong("keys", f"{name} can be read or written by others", f"chmod 600 {name}, and ask who read it.")
    try:
        ring = KeyRing.open(folder, random=random)
    except KeyUnavailable as problem:
        return wrong("keys", str(problem), "Restore the key directory from its own backup.")
    if engine is not None and (missing := _missing_signer(folder, engine)) is not None:
        return wrong(
            "keys",
            f"the file of {missing}, the key that signs, is not there",
            "Restore it from its backup, or see `Signing key lost or stolen` in docs/operations.md.",
        )
    tried = _try_on_tenants(ring, engine) if engine is not None else 0
    if tried is None:
        return wrong(
            "keys",
            "the master key is not the one that this database's keys are closed with",
            "Restore the key directory that belongs to this database.",
        )
    return ok("keys", "there, closed to others" + (", and they open the database's keys" if tried else ""))


def _missing_signer(folder: Path, engine: Engine) -> str | None:
    """Return the id of the key that should sign, if no file holds it."""
    with Session(engine) as session:
        active = session.execute(select(SigningKey.id).where(SigningKey.state == ACTIVE)).scalar_one_or_none()
    there = {signer.key_id() for _, signer in signers_in(folder)}
    return None if active is None or active in there else active


def _try_on_tenants(ring: KeyRing, engine: Engine) -> int | None:
    with Session(engine) as session:
        tenants = session.execute(select(Tenant.id, Tenant.identifier_key)).all()
    try:
        for tenant_id, wrapped in tenants:
            ring.unwrap(wrapped, tenant_id.encode())
    except KeyUnavailable:
        return None
    return len(tenants)
