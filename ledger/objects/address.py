"""The address of the object store: `file:///srv/lacuna/objects` or `s3://bucket/prefix`."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ledger.errors import StoreUnsuitable
from ledger.objects.local import LocalObjectStore
from ledger.objects.store import ObjectStore

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")  # as S3 itself names buckets
_PREFIX = re.compile(r"(?:[A-Za-z0-9_=-][A-Za-z0-9._=-]*/)*")


def open_store(url: str | None, default: Path) -> ObjectStore:
    """Return the store at `url`, or the folder `default` if there is none. Nothing is read or written yet.

    Only kinds of store are taken whose deletion was looked into: others may keep what is deleted, as Google's and
    Azure's do for days by default. Raises StoreUnsuitable: the address is malformed, of another kind, or holds a
    password; the message never repeats it.
    """
    if not url:  # empty, as a compose file writes what is not set
        return LocalObjectStore(default)
    try:
        parts = urlsplit(url)
    except ValueError as problem:
        raise StoreUnsuitable("LACUNA_OBJECTS_URL is no address") from problem
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise StoreUnsuitable(
            "LACUNA_OBJECTS_URL holds more than a place. Credentials belong into the environment or a secret file"
        )
    if parts.scheme == "file":
        if parts.netloc or not parts.path.startswith("/") or parts.path == "/":
            raise StoreUnsuitable("LACUNA_OBJECTS_URL names no folder of this machine; write file:///path/of/it")
        return LocalObjectStore(Path(unquote(parts.path)))
    if parts.scheme == "s3":
        prefix = f"{parts.path.strip('/')}/".lstrip("/")
        if not _BUCKET.fullmatch(parts.netloc) or not _PREFIX.fullmatch(prefix):
            raise StoreUnsuitable("LACUNA_OBJECTS_URL names no bucket, or a prefix with unusual characters")
        return _open_s3(parts.netloc, prefix)
    raise StoreUnsuitable("LACUNA_OBJECTS_URL must begin with file:/// or s3://")


def _open_s3(bucket: str, prefix: str) -> ObjectStore:
    try:
        from ledger.objects.s3 import S3ObjectStore
    except ModuleNotFoundError as problem:
        raise StoreUnsuitable("the S3 client is not installed; run pip install 'lacuna[s3]'") from problem
    return S3ObjectStore(bucket, prefix)
