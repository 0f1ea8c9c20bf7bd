"""Giving events their places in the log, in batches, and signing what it then is.

Whoever calls takes turns at one row, so there is one sequencer at a time, in whatever process. A place is never taken
back: leaves can only be added.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import insert, select

from evidence.checkpoint import Checkpoint
from evidence.signed_note import NoteKey, cosign_note
from ledger import signing_keys
from ledger.database import Database, Transaction
from ledger.keys import KeyRing
from ledger.log.tree import TILE, TILE_LEVELS, StoredTree
from ledger.tables import Event, Leaf, LogCheckpoint, LogNode, LogState

BATCH = 2_000
LOOK_BACK = 10_000
"""On PostgreSQL an event with a lower number may be committed after one with a higher. This many numbers below the
highest sequenced one are looked at again; an event that comes even later is found by `lacuna verify log`."""


@dataclass(frozen=True, slots=True)
class Sequenced:
    """How many events got a place, and the log's size after that."""

    added: int
    size: int


def sequence(database: Database, ring: KeyRing) -> Sequenced:
    """Give every committed event that has none its place, batch by batch, and sign a checkpoint for each batch.

    Cheap when there is nothing to do: one read. Safe from any number of processes. Raises LogDamaged.
    """
    with database.read() as tx:
        state = tx.session.get(LogState, 1)
        if state is not None and not _waiting(tx, state, 1):
            return Sequenced(0, state.size)
    total = 0
    while True:
        with database.begin() as tx:
            state = lock_log(tx)
            added = _append(tx, state)
            if added or state.size == 0:
                _sign(tx, state, ring)
            size = state.size
        total += added
        if added < BATCH:
            return Sequenced(total, size)


def note_key(origin: str, ring: KeyRing) -> NoteKey:
    """Return the installation's first key as the signer of this log's checkpoints."""
    return NoteKey(origin, ring.public_key_raw())


def lock_log(tx: Transaction) -> LogState:
    """Return the log's state, locked until the commit: nobody else gives places or changes the keys that sign it."""
    state = tx.session.get(LogState, 1, with_for_update=True, populate_existing=True)
    if state is None:  # the first time; a second process that comes here at the same moment fails and tries again
        state = LogState(id=1, origin=f"lacuna/{tx.new_id()}", size=0, last_event_id=0)
        tx.session.add(state)
        tx.session.flush()
    return state


def _append(tx: Transaction, state: LogState) -> int:
    found = _waiting(tx, state, BATCH)
    if not found:
        return 0
    before = state.size
    tx.session.execute(
        insert(Leaf),
        [{"position": before + i, "event_id": event_id, "leaf_hash": leaf} for i, (event_id, leaf) in enumerate(found)],
    )
    state.size = before + len(found)
    state.last_event_id = max(state.last_event_id, max(event_id for event_id, _ in found))
    _close_tiles(tx, before, state.size)
    tx.session.flush()
    return len(found)


def _waiting(tx: Transaction, state: LogState, limit: int) -> list[tuple[int, bytes]]:
    """Return number and leaf hash of the oldest events that have no place."""
    query = (
        select(Event.id, Event.leaf_hash)
        .outerjoin(Leaf, Leaf.event_id == Event.id)
        .where(Event.id > state.last_event_id - LOOK_BACK, Leaf.position.is_(None))
    )
    return [(event_id, leaf) for event_id, leaf in tx.session.execute(query.order_by(Event.id).limit(limit))]


def _close_tiles(tx: Transaction, before: int, size: int) -> None:
    """Store the nodes over every group of 256 that has become complete, level by level."""
    level = 0
    while size >= TILE:
        tree = StoredTree(tx)
        new = [
            {"level": level + TILE_LEVELS, "position": tile, "hash": tree.complete_tile(level, tile)}
            for tile in range(before // TILE, size // TILE)
        ]
        if not new:
            return
        tx.session.execute(insert(LogNode), new)
        level, before, size = level + TILE_LEVELS, before // TILE, size // TILE


def _sign(tx: Transaction, state: LogState, ring: KeyRing) -> None:
    found = tx.session.get(LogCheckpoint, state.size)
    if found is not None:
        return
    checkpoint = Checkpoint(state.origin, state.size, StoredTree(tx).root(state.size))
    signing_keys.register(tx, ring)
    active, *announced = signing_keys.signers(tx, ring)
    note = checkpoint.signed(NoteKey(state.origin, active.public_key_raw()), active.sign)
    for key in announced:  # during a hand-over both sign, so that whoever knows either of them can go on from here
        note = cosign_note(note, NoteKey(state.origin, key.public_key_raw()), key.sign)
    tx.session.add(LogCheckpoint(size=state.size, note=note, created_at=tx.now))
