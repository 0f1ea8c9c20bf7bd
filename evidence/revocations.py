"""Revoked keys: from when on what they signed counts for nothing, and what of the time before can still be shown.

Whoever has stolen a key can date what he signs as he likes. So a date alone never saves a certificate of a revoked
key: its place in the log must lie before the revocation's, under a checkpoint that the verifier has kept herself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from evidence.errors import KeyNotTrusted, Malformed
from evidence.key_list import is_list, items


@dataclass(frozen=True, slots=True)
class Revocation:
    """The key counts for what is not later than `not_after`, among the first `log_size` entries of the log."""

    key_id: str
    reason: str
    not_after: datetime
    log_size: int


def read_revocations(text: str) -> dict[str, Revocation]:
    """Read what `GET /v1/revocations` gives, or a list of keys with their states; by key id. Raises Malformed."""
    found = {}
    for item in items(text, "list of revocations"):
        if item.get("not_after") is None:
            continue  # of a list of keys: one that is not revoked
        key_id, reason, size = item.get("key_id"), item.get("reason"), item.get("log_size")
        if not isinstance(key_id, str) or not isinstance(reason, str) or type(size) is not int or size < 0:
            raise Malformed("list of revocations", "an item lacks its key, reason or size of the log")
        try:
            not_after = datetime.fromisoformat(item["not_after"])
        except (TypeError, ValueError):
            raise Malformed("list of revocations", "a time cannot be read") from None
        if not_after.tzinfo is None:
            raise Malformed("list of revocations", "a time has no zone")
        found[key_id] = Revocation(key_id, reason, not_after, size)
    return found


def gather(*documents: str | None) -> dict[str, Revocation]:
    """Return what several documents revoke; of two revocations of one key the stricter counts. PEM revokes nothing.

    Raises Malformed.
    """
    found: dict[str, Revocation] = {}
    for document in documents:
        if document is None or not is_list(document):
            continue
        for key_id, new in read_revocations(document).items():
            old = found.get(key_id, new)
            found[key_id] = Revocation(
                key_id, new.reason, min(old.not_after, new.not_after), min(old.log_size, new.log_size)
            )
    return found


def require_dated(revocations: Mapping[str, Revocation], key_id: str, completed: datetime) -> None:
    """Raise KeyNotTrusted if a certificate is, by its own word, later than its key's revocation allows."""
    found = revocations.get(key_id)
    if found is not None and completed > found.not_after:
        when = found.not_after.isoformat()
        raise KeyNotTrusted(key_id, f"it was revoked ({found.reason}) from {when} on, and the certificate is later")


def require_trusted(revocations: Mapping[str, Revocation], key_id: str, *, index: int | None, kept: bool) -> str | None:
    """Return why a certificate counts though its key was revoked (`require_dated`), None for a key that was not.

    index: its place in the log, None without a proof; kept: that the proof leads to the verifier's own checkpoint.
    Raises KeyNotTrusted.
    """
    found = revocations.get(key_id)
    if found is None:
        return None
    when = found.not_after.isoformat()
    if index is not None and index >= found.log_size:
        raise KeyNotTrusted(
            key_id,
            f"it was revoked ({found.reason}) from entry {found.log_size} on, and the certificate is entry {index}",
        )
    if index is None or not kept:
        raise KeyNotTrusted(
            key_id,
            f"it was revoked ({found.reason}) from {when} on, and whoever holds it can date a certificate back; give "
            "the certificate's proof against a checkpoint that you kept from before (--proof, --since)",
        )
    return (
        f"Its key was revoked from {when} on ({found.reason}), but it stood in the log before, under the checkpoint "
        "that you kept."
    )


def require_trusted_checkpoint(revocations: Mapping[str, Revocation], key_id: str, *, size: int, kept: bool) -> None:
    """Raise KeyNotTrusted if the log's state rests on the word of a revoked key alone, and it is not the kept one."""
    found = revocations.get(key_id)
    if found is not None and not kept:
        raise KeyNotTrusted(
            key_id,
            f"it was revoked ({found.reason}), and the proof's checkpoint of {size} entries has no other signature; "
            "fetch the proof again, or give the checkpoint that you kept (--since)",
        )
