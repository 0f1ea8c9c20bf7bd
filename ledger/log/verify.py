"""Recomputing the whole log from its rows, and naming every row that is not what it was.

What can be told from the database alone ends where everything was rewritten and signed anew: a checkpoint that the
auditor kept from before shows that too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import select

from evidence.checkpoint import Checkpoint, open_checkpoint
from evidence.errors import EvidenceError
from evidence.frontier import Frontier
from evidence.merkle import leaf_hash
from evidence.signed_note import NoteKey, signed_by
from ledger.database import Transaction
from ledger.log.tree import TILE_LEVELS
from ledger.tables import Event, Leaf, LogCheckpoint, LogNode, LogState

AT_ONCE = 2_000
MOST_SUSPECTS = 5

Signed = dict[int, list[tuple[Checkpoint, str, bool]]]
"""By size: the checkpoint, what to call it, and whether a key signed it that is not revoked."""


@dataclass(frozen=True, slots=True)
class LogKey:
    """32 bytes of an Ed25519 key that signed checkpoints. Alone, a revoked one vouches for nothing."""

    public: bytes
    revoked: bool = False


@dataclass(frozen=True, slots=True)
class Verified:
    """What was found: no findings if the log is whole. `waiting` events came last and have no place yet."""

    size: int
    waiting: int
    checkpoints: int
    findings: list[str]


def silent(_fraction: float) -> None:
    """Say nothing."""


def verify_log(
    tx: Transaction,
    public_key: bytes | Sequence[LogKey],
    *,
    since: str | None = None,
    on_progress: Callable[[float], None] = silent,
) -> Verified:
    """Recompute leaves, tree and checkpoints. `public_key`: 32 bytes of Ed25519, or several keys after a rotation;
    `since`: a checkpoint kept earlier."""
    state = tx.session.get(LogState, 1) or LogState(id=1, origin="none", size=0, last_event_id=0)
    known = [LogKey(public_key)] if isinstance(public_key, bytes) else public_key
    keys = [(NoteKey(state.origin, key.public), not key.revoked) for key in known]
    findings: list[str] = []
    signed = _checkpoints(tx, keys, findings)
    if since is not None:
        try:
            kept, _ = _open(since, keys)
            signed.setdefault(kept.size, []).append((kept, "your checkpoint", True))
        except EvidenceError as problem:
            findings.append(f"your checkpoint is not one of this log: {problem}")
    count = sum(len(each) for each in signed.values())
    size = _walk(tx, state, signed, findings, on_progress)
    for late in sorted(signed):
        findings += [
            f"{name} speaks of {late} entries, there are {size}: some were deleted" for _, name, _ in signed[late]
        ]
    waiting = _without_place(tx, state, findings)
    return Verified(size, waiting, count, findings)


def _open(note: str, keys: Sequence[tuple[NoteKey, bool]]) -> tuple[Checkpoint, bool]:
    """Return a checkpoint that one of the keys signed, and whether one did that is not revoked.

    Raises Malformed, NoteUnsigned.
    """
    mine = [(key, trusted) for key, trusted in keys if signed_by(note, key)] or keys[:1]
    opened = [open_checkpoint(note, key) for key, _ in mine]
    return opened[0], any(trusted for _, trusted in mine)


def _checkpoints(tx: Transaction, keys: Sequence[tuple[NoteKey, bool]], findings: list[str]) -> Signed:
    good: Signed = {}
    for row in tx.session.execute(select(LogCheckpoint).order_by(LogCheckpoint.size)).scalars():
        try:
            found, trusted = _open(row.note, keys)
        except EvidenceError as problem:
            findings.append(f"checkpoint {row.size} was edited: {problem}")
            continue
        if found.size != row.size:
            findings.append(f"checkpoint {row.size} was edited: what is signed is one of size {found.size}")
        good.setdefault(found.size, []).append((found, f"checkpoint {found.size}", trusted))
    return good


def _walk(
    tx: Transaction, state: LogState, signed: Signed, findings: list[str], on_progress: Callable[[float], None]
) -> int:
    """Build the tree anew from the leaves in order, comparing on the way; return its size."""
    stored = {(n.level, n.position): n.hash for n in tx.session.execute(select(LogNode)).scalars()}
    tree, agreed, last_signed, last_event = Frontier(), 0, 0, 0
    suspects: list[int] = []
    findings += [  # signed where a process came to work before anything had happened
        f"{name} does not fit: a log without entries has another root"
        for checkpoint, name, _ in signed.pop(0, ())
        if checkpoint.root != tree.root()
    ]
    for position, event_id, leaf, event in _leaves(tx):
        if position != tree.size:
            findings.append(f"entries {tree.size} to {position - 1} of the log were deleted")
            signed.clear()  # behind a gap nothing stands at its place
            return tree.size
        findings += _entry(position, event_id, leaf, event)
        leaf = leaf if isinstance(leaf, bytes) else b""  # named just now: it is not the hash of its event
        if event_id < last_event:
            suspects.append(position)
        last_event = event_id
        for level, index, found in tree.add(leaf):
            if level and level % TILE_LEVELS == 0 and stored.pop((level, index), None) != found:
                findings.append(f"node {index} of level {level} does not fit its entries, or is missing")
        for checkpoint, name, trusted in signed.pop(tree.size, ()):
            last_signed = tree.size if trusted else last_signed
            if checkpoint.root == tree.root():
                agreed, suspects = tree.size, []
            else:
                findings.append(_misfit(name, agreed, tree.size, suspects))
        if tree.size % AT_ONCE == 0:
            on_progress(min(tree.size / max(state.size, 1), 1.0))
    if last_signed != tree.size and tree.size == state.size:
        findings.append(
            f"no checkpoint speaks of entries {last_signed} to {tree.size - 1}; every batch of entries has one"
        )
    if tree.size != state.size:
        findings.append(f"the log's state says {state.size} entries, there are {tree.size}")
    findings += [f"node {index} of level {level} stands for entries that do not exist" for level, index in stored]
    on_progress(1.0)
    return tree.size


def _misfit(name: str, agreed: int, size: int, suspects: list[int]) -> str:
    told = f"{name} does not fit: entries {agreed} to {size - 1} are not those that were signed"
    if suspects:
        places = ", ".join(str(place) for place in suspects[:MOST_SUSPECTS])
        told += f"; out of their order: {places}"
    return told


def _leaves(tx: Transaction) -> Iterator[tuple[int, int, bytes, Event | None]]:
    """Yield position, event number, leaf hash and event, in the order of the log, a few at a time."""
    after = -1
    while True:
        rows = tx.session.execute(
            select(Leaf.position, Leaf.event_id, Leaf.leaf_hash, Event)
            .outerjoin(Event, Event.id == Leaf.event_id)
            .where(Leaf.position > after)
            .order_by(Leaf.position)
            .limit(AT_ONCE)
        ).all()
        if not rows:
            return
        yield from ((position, event_id, leaf, event) for position, event_id, leaf, event in rows)
        after = rows[-1][0]
        tx.session.expunge_all()


def _entry(position: int, event_id: int, leaf: bytes, event: Event | None) -> Iterator[str]:
    """Compare an entry with its event."""
    if event is None:
        yield f"event {event_id}, entry {position} of the log, was deleted"
        return
    if not isinstance(event.body, bytes):  # SQLite keeps whatever kind it is given
        yield f"event {event_id}, entry {position}, was edited: its content is no event"
        return
    if leaf_hash(event.body) != event.leaf_hash:
        yield f"event {event_id}, entry {position}, was edited: its content does not have its hash"
    if event.leaf_hash != leaf:
        yield f"entry {position} does not have the hash of its event {event_id}: one of the two was edited"
    try:
        body = json.loads(event.body)
        told = (body["tenant"], body["kind"], body["subject"], body["at"])
    except (ValueError, KeyError, TypeError):
        yield f"event {event_id}, entry {position}, was edited: its content is no event"
        return
    for column, said, stored in zip(
        ("tenant_id", "kind", "subject", "at"),
        told,
        (event.tenant_id, event.kind, event.subject, event.at),
        strict=True,
    ):
        if said != stored:
            yield f"event {event_id}, entry {position}, was edited: its column {column} is not what its content says"


def _without_place(tx: Transaction, state: LogState, findings: list[str]) -> int:
    """Return how many of the newest events wait for a place; older ones without a place were inserted or came late."""
    query = select(Event.id).outerjoin(Leaf, Leaf.event_id == Event.id).where(Leaf.position.is_(None))
    missing = list(tx.session.execute(query.order_by(Event.id)).scalars())
    old = [event_id for event_id in missing if event_id <= state.last_event_id]
    findings += [
        f"event {event_id} has no place in the log though later ones have: it was inserted" for event_id in old
    ]
    return len(missing) - len(old)
