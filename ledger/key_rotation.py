"""Changing the key that signs, step by step, so that a crash between two steps leaves one key that signs.

    key file written      nothing refers to it; the next rotation takes it
    announced             checkpoints carry both signatures; the old key signs certificates
    placed in the log     a checkpoint by both keys covers the announcement
    activated             the new key signs alone
    old file destroyed    nobody can sign with the old key any more; what it signed stays valid

Repeating a rotation goes on from wherever the last one stopped.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ledger import signing_keys
from ledger.errors import SigningKeyRefused
from ledger.keys import KeyRing, Signer, new_private_key, parse_signer, read_or_make, signers_in
from ledger.ledger import Ledger
from ledger.log.sequencer import lock_log, sequence
from ledger.objects import fsync_directory
from ledger.signing_keys import ACTIVE, ANNOUNCED

GONE = ".gone"


def nothing(_point: str) -> None:
    """Go on: this is where a test may kill the process."""


@dataclass(frozen=True, slots=True)
class Rotated:
    """The id of the key that signs now, or, while `announced`, that will after the next `rotate`."""

    key_id: str
    announced: bool


def rotate(
    ledger: Ledger, *, only_announce: bool = False, old_is_lost: bool = False, point: Callable[[str], None] = nothing
) -> Rotated:
    """Let a new key sign, and destroy the old one's private half; with `only_announce` stop when both sign.

    `old_is_lost`: the active key's file is gone, so the new one vouches for itself alone; whoever verifies must get it
    in another way. Raises SigningKeyRefused, KeyUnavailable: the active key's file is gone, and that was not said.
    """
    database, ring = ledger.database, ledger.ring
    if old_is_lost:
        _require_lost(ledger)
    elif destroy_retired(ledger):  # an earlier rotation died just before its last step: this is its end
        sequence(database, ring)
        return Rotated(_active(ledger), announced=False)
    else:
        sequence(database, ring)  # so the old key signs, alone, for everything before the announcement
    with database.read() as tx:
        waiting = next((key.key_id for key in signing_keys.known(tx, ring) if key.state == ANNOUNCED), None)
    if waiting is None or not _files_of(ring, waiting):
        new = _next_signer(ledger)
        point("rotate.key_written")
        waiting = _announce(ledger, new, old_is_lost=old_is_lost)
        point("rotate.announced")
    if not old_is_lost:
        sequence(database, ring)
        point("rotate.placed")
        if only_announce:
            return Rotated(waiting, announced=True)
    with database.begin() as tx:
        lock_log(tx)
        signing_keys.activate(tx)
    point("rotate.activated")
    destroy_retired(ledger)
    point("rotate.destroyed")
    sequence(database, ring)
    return Rotated(waiting, announced=False)


def destroy_retired(ledger: Ledger) -> list[str]:
    """Destroy the private halves of keys that sign no more; return their ids. Safe to repeat."""
    with ledger.database.read() as tx:
        waiting = [row.id for row in signing_keys.to_destroy(tx)]
    for key_id in waiting:
        for path in _files_of(ledger.ring, key_id):
            _destroy(path)
        _sweep(ledger.ring.directory)
        with ledger.database.begin() as tx:
            row = signing_keys.get(tx, ledger.ring, key_id).row
            assert row is not None
            row.destroyed_at = tx.now
    return waiting


def _announce(ledger: Ledger, new: Signer, *, old_is_lost: bool) -> str:
    """Announce a key, unless another process was faster; return the id of the one that is announced."""
    with ledger.database.begin() as tx:
        lock_log(tx)
        for key in signing_keys.known(tx, ledger.ring):
            if key.state == ANNOUNCED and key.row is not None:
                if _files_of(ledger.ring, key.key_id):
                    return key.key_id
                signing_keys.give_up(tx, key.row)
        return signing_keys.announce(tx, ledger.ring, new, old_is_lost=old_is_lost).id


def _next_signer(ledger: Ledger) -> Signer:
    """Return a key that no row knows: one that a crash, or a lost first key, left in the directory, or a new one."""
    with ledger.database.read() as tx:
        known = {key.key_id for key in signing_keys.known(tx, ledger.ring)}
    for _, found in signers_in(ledger.ring.directory):
        if found.key_id() not in known:
            return found
    private = new_private_key(os.urandom)
    name = f"signing-{parse_signer(private, ledger.ring.directory).key_id()}.key"
    return parse_signer(read_or_make(ledger.ring.directory / name, lambda: private), Path(name))


def _active(ledger: Ledger) -> str:
    with ledger.database.read() as tx:
        return next(key.key_id for key in signing_keys.known(tx, ledger.ring) if key.state == ACTIVE)


def _require_lost(ledger: Ledger) -> None:
    active = _active(ledger)
    if _files_of(ledger.ring, active):
        raise SigningKeyRefused(
            f"the file of {active}, which signs now, is there; rotate without saying that it is lost"
        )


def _files_of(ring: KeyRing, key_id: str) -> list[Path]:
    return [path for path, found in signers_in(ring.directory) if found.key_id() == key_id]


def _destroy(path: Path) -> None:
    """Take a key file out of use in one step; `_sweep` does the rest."""
    path.rename(path.with_name(f".{path.name}{GONE}"))
    fsync_directory(path.parent)


def _sweep(directory: Path) -> None:
    """Overwrite and delete files that were taken out of use, also by a process that died before it came to this.

    What a disk or a backup keeps of them is beyond this program.
    """
    for path in directory.glob(f".signing*{GONE}"):
        with path.open("r+b") as file:
            file.write(b"\0" * path.stat().st_size)
            file.flush()
            os.fsync(file.fileno())
        path.unlink()
    fsync_directory(directory)
