"""The log in the database: places, proofs, checkpoints, and what every kind of tampering leaves behind."""

from __future__ import annotations

import json
import re
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing

import pytest
from sqlalchemy import delete, insert, select, text, update
from sqlalchemy.exc import DBAPIError
from support.world import NewWorld, World

from evidence.checkpoint import Checkpoint, open_checkpoint
from evidence.errors import ProofInvalid
from evidence.merkle import check_consistency, leaf_hash
from evidence.tlog_proof import check_tlog_proof
from ledger import events
from ledger.database import Transaction
from ledger.errors import LogDamaged, NotFound
from ledger.log import proofs
from ledger.log.sequencer import note_key, sequence
from ledger.log.tree import TILE, StoredTree
from ledger.log.verify import verify_log
from ledger.tables import Event, Leaf, LogCheckpoint, LogNode, LogState

ENTRIES = 600  # two complete tiles and the beginning of a third


def add_events(world: World, count: int) -> None:
    with world.ledger.database.begin() as tx:
        for i in range(count):
            events.append(tx, world.tenant_id, "test.happened", f"{i:032x}", number=i)


@pytest.fixture
def world(new_world: NewWorld, database_url: str) -> World:
    return new_world(database_url, core_people=1)


@pytest.fixture
def filled(world: World) -> World:
    add_events(world, ENTRIES - 100)
    sequence(world.ledger.database, world.ledger.ring)
    add_events(world, 100)
    sequence(world.ledger.database, world.ledger.ring)
    return world


def findings(world: World, since: str | None = None) -> list[str]:
    with world.ledger.database.read() as tx:
        return verify_log(tx, world.ledger.ring.public_key_raw(), since=since).findings


def test_every_event_gets_a_place_once(filled: World) -> None:
    again = sequence(filled.ledger.database, filled.ledger.ring)
    assert again.added == 0
    with filled.ledger.database.read() as tx:
        count = len(tx.session.execute(select(Event.id)).all())
        leaves = tx.session.execute(select(Leaf).order_by(Leaf.position)).scalars().all()
        assert [leaf.position for leaf in leaves] == list(range(count))
        assert len({leaf.event_id for leaf in leaves}) == again.size == count > ENTRIES
        found = verify_log(tx, filled.ledger.ring.public_key_raw())
    assert (found.findings, found.size, found.waiting, found.checkpoints) == ([], count, 0, 2)


def test_sequencers_in_many_threads_give_one_order(world: World) -> None:
    sequence(world.ledger.database, world.ledger.ring)
    problems: list[BaseException] = []

    def both() -> None:
        try:
            add_events(world, 20)
            sequence(world.ledger.database, world.ledger.ring)
        except BaseException as problem:  # noqa: BLE001 (handed to the test)
            problems.append(problem)

    threads = [threading.Thread(target=both) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    sequence(world.ledger.database, world.ledger.ring)
    assert findings(world) == []


def test_an_event_is_proved_to_outsiders(filled: World) -> None:
    with filled.ledger.database.read() as tx:
        origin = tx.session.get_one(LogState, 1).origin
        key = note_key(origin, filled.ledger.ring)
        for number in (0, 255, 256, 499):
            subject = f"{number:032x}"
            proof = proofs.of_event(tx, filled.tenant_id, "test.happened", subject)
            newest = select(Event.body).where(Event.subject == subject).order_by(Event.id.desc()).limit(1)
            checkpoint = check_tlog_proof(proof.text(), leaf_hash(tx.session.execute(newest).scalar_one()), key)
            assert checkpoint.size > ENTRIES
        with pytest.raises(ProofInvalid):
            check_tlog_proof(proof.text(), leaf_hash(b"{}"), key)
        with pytest.raises(NotFound):
            proofs.of_event(tx, "f" * 32, "test.happened", f"{0:032x}")


def test_a_later_checkpoint_follows_an_earlier_one(filled: World) -> None:
    with filled.ledger.database.read() as tx:
        key = note_key(tx.session.get_one(LogState, 1).origin, filled.ledger.ring)
        new, old = (open_checkpoint(row.note, key) for row in proofs.checkpoints(tx))
        path = proofs.consistency(tx, old.size, new.size)
        check_consistency(old.size, old.root, new.size, new.root, path)
        for sizes in ((0, 5), (5, new.size + 1), (7, 6)):
            with pytest.raises(NotFound):
                proofs.consistency(tx, *sizes)


def test_nothing_is_proved_before_the_first_batch(world: World) -> None:
    with world.ledger.database.read() as tx:
        with pytest.raises(NotFound):
            proofs.newest_checkpoint(tx)
        found = verify_log(tx, world.ledger.ring.public_key_raw())
    assert (found.findings, found.size) == ([], 0)
    assert found.waiting > 0


Tamper = Callable[[Transaction, World], object]


def first(tx: Transaction, offset: int) -> int:
    return tx.session.execute(select(Leaf.event_id).where(Leaf.position == offset)).scalar_one()


def edit_event(**values: object) -> Tamper:
    return lambda tx, _: tx.session.execute(update(Event).where(Event.id == first(tx, 30)).values(**values))


def edit_body(tx: Transaction, world: World, *, rehash: bool, leaf: bool = False) -> None:
    event_id = first(tx, 30)
    body = json.loads(tx.session.execute(select(Event.body).where(Event.id == event_id)).scalar_one())
    new = events.canonical_bytes(body | {"number": 12345})
    values = {"body": new} | ({"leaf_hash": leaf_hash(new)} if rehash else {})
    tx.session.execute(update(Event).where(Event.id == event_id).values(**values))
    if leaf:
        tx.session.execute(update(Leaf).where(Leaf.position == 30).values(leaf_hash=leaf_hash(new)))


def swap(tx: Transaction, _: World) -> None:
    rows = {p: tx.session.execute(select(Leaf).where(Leaf.position == p)).scalar_one() for p in (10, 20)}
    (a, b) = ({"event_id": r.event_id, "leaf_hash": r.leaf_hash} for r in rows.values())
    tx.session.execute(delete(Leaf).where(Leaf.position.in_([10, 20])))
    tx.session.execute(insert(Leaf), [{"position": 10, **b}, {"position": 20, **a}])


def insert_event(tx: Transaction, world: World, *, place: bool) -> None:
    event = events.append(tx, world.tenant_id, "test.forged", "f" * 32)
    tx.session.flush()
    state = tx.session.get_one(LogState, 1)
    if place:
        tx.session.add(Leaf(position=state.size, event_id=event.id, leaf_hash=event.leaf_hash))
        state.size += 1
    state.last_event_id = event.id


def cut_short(tx: Transaction, _: World) -> None:
    state = tx.session.get_one(LogState, 1)
    tx.session.execute(delete(Leaf).where(Leaf.position >= state.size - 5))
    state.size -= 5


def forge_checkpoint(tx: Transaction, world: World) -> None:
    state = tx.session.get_one(LogState, 1)
    note = Checkpoint(state.origin, 5, bytes(32)).signed(
        note_key(state.origin, world.ledger.ring), world.ledger.ring.sign
    )
    tx.session.add(LogCheckpoint(size=5, note=note, created_at=0))


def delete_event(tx: Transaction) -> None:
    event_id = first(tx, 30)
    tx.session.execute(delete(Leaf).where(Leaf.position == 30))
    tx.session.execute(delete(Event).where(Event.id == event_id))


def edit_note(tx: Transaction, old: str, new: str) -> None:
    row = proofs.newest_checkpoint(tx)
    tx.session.execute(
        update(LogCheckpoint).where(LogCheckpoint.size == row.size).values(note=row.note.replace(old, new))
    )


TAMPERINGS: dict[str, tuple[Tamper, str]] = {
    "body": (lambda tx, w: edit_body(tx, w, rehash=False), "entry 30, was edited"),
    "body and hash": (lambda tx, w: edit_body(tx, w, rehash=True), "entry 30 does not have the hash"),
    "body, hash and leaf": (lambda tx, w: edit_body(tx, w, rehash=True, leaf=True), "checkpoint .* does not fit"),
    "body that is no event": (edit_event(body=b"[]"), "its content is no event"),
    "event's hash": (edit_event(leaf_hash=bytes(32)), "entry 30, was edited"),
    "kind": (edit_event(kind="test.never"), "its column kind"),
    "subject": (edit_event(subject="0" * 32), "its column subject"),
    "time": (edit_event(at=1), "its column at"),
    "leaf's hash": (
        lambda tx, _: tx.session.execute(update(Leaf).where(Leaf.position == 30).values(leaf_hash=bytes(32))),
        "entry 30 does not have the hash",
    ),
    "event and leaf deleted": (lambda tx, _: delete_event(tx), "entries 30 to 30 .* deleted"),
    "leaf deleted": (
        lambda tx, _: tx.session.execute(delete(Leaf).where(Leaf.position == 30)),
        "entries 30 to 30 .* deleted",
    ),
    "leaves swapped": (swap, "out of their order: 11"),
    "event inserted": (lambda tx, w: insert_event(tx, w, place=False), "it was inserted"),
    "entry added unsigned": (lambda tx, w: insert_event(tx, w, place=True), "no checkpoint speaks of"),
    "end cut off": (cut_short, "some were deleted"),
    "end cut off, but not the state": (
        lambda tx, _: tx.session.execute(delete(Leaf).where(Leaf.position >= 595)),
        "there are 595",
    ),
    "node edited": (lambda tx, _: tx.session.execute(update(LogNode).values(hash=bytes(32))), "node 0 of level 8"),
    "node deleted": (
        lambda tx, _: tx.session.execute(delete(LogNode).where(LogNode.position == 1)),
        "node 1 of level 8",
    ),
    "node invented": (
        lambda tx, _: tx.session.add(LogNode(level=8, position=9, hash=bytes(32))),
        "entries that do not exist",
    ),
    "checkpoint's root edited": (lambda tx, _: edit_note(tx, "=\n\n", "A=\n\n"), "checkpoint .* was edited"),
    "checkpoint's log renamed": (lambda tx, _: edit_note(tx, "lacuna/", "acuna/"), "checkpoint .* was edited"),
    "checkpoints deleted": (
        lambda tx, _: tx.session.execute(delete(LogCheckpoint)),
        "no checkpoint speaks of entries 0",
    ),
    "false checkpoint signed": (forge_checkpoint, "checkpoint 5 does not fit"),
    "checkpoint moved": (
        lambda tx, _: tx.session.execute(update(LogCheckpoint).values(size=LogCheckpoint.size - 1)),
        "what is signed is one of size",
    ),
    "state turned back": (lambda tx, _: tx.session.execute(update(LogState).values(size=3)), "the log's state says 3"),
}


def unguard(tx: Transaction) -> None:
    """Drop the triggers and the foreign key: whoever tampers has the rights of the database's owner."""
    if tx.session.get_bind().dialect.name == "sqlite":
        for (name,) in tx.session.execute(text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).all():
            tx.session.execute(text(f"DROP TRIGGER {name}"))
        return
    for table in ("events", "leaves", "log_nodes", "log_checkpoints"):
        tx.session.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER USER"))


@pytest.mark.parametrize("how", TAMPERINGS)
def test_tampering_is_found(filled: World, how: str) -> None:
    assert findings(filled) == []
    tamper, told = TAMPERINGS[how]
    with filled.ledger.database.begin() as tx:
        unguard(tx)
        tamper(tx, filled)
    assert re.search(told, "\n".join(findings(filled)))


def test_a_gap_is_named_once_and_accuses_no_checkpoint(filled: World) -> None:
    with filled.ledger.database.begin() as tx:
        unguard(tx)
        delete_event(tx)
    assert findings(filled) == ["entries 30 to 30 of the log were deleted"]


def test_what_an_earlier_checkpoint_vouches_for_is_not_suspected(filled: World) -> None:
    with filled.ledger.database.begin() as tx:
        first_batch = min(row.size for row in proofs.checkpoints(tx))
        unguard(tx)
        tx.session.execute(update(Leaf).where(Leaf.position == first_batch + 3).values(leaf_hash=bytes(32)))
    told = "\n".join(findings(filled))
    assert f"does not fit: entries {first_batch} to " in told
    assert "entries 0 to" not in told


def test_an_event_deleted_from_under_its_entry_is_named(filled: World) -> None:
    """The foreign key forbids it; whoever owns the database can lift that too."""
    engine = filled.ledger.database.engine
    with filled.ledger.database.read() as tx:
        event_id = first(tx, 30)
    if filled.ledger.database.is_sqlite:
        with closing(sqlite3.connect(engine.url.database or "")) as raw, raw:
            raw.execute("DROP TRIGGER events_no_delete")
            raw.execute("DELETE FROM events WHERE id = ?", (event_id,))  # this connection minds no foreign keys
    else:
        with engine.begin() as connection:
            connection.execute(text("ALTER TABLE leaves DROP CONSTRAINT fk_leaves_event_id"))
            connection.execute(text("ALTER TABLE events DISABLE TRIGGER USER"))
            connection.execute(text("DELETE FROM events WHERE id = :id"), {"id": event_id})
    assert findings(filled) == [f"event {event_id}, entry 30 of the log, was deleted"]


def rewrite(world: World) -> None:
    """Forge an event and build the whole log anew over it, signed with the real key."""
    with world.ledger.database.begin() as tx:
        unguard(tx)
        edit_body(tx, world, rehash=True)
        for table in (Leaf, LogNode, LogCheckpoint):
            tx.session.execute(delete(table))
        tx.session.execute(update(LogState).values(size=0, last_event_id=0))
    sequence(world.ledger.database, world.ledger.ring)


def test_a_complete_rewrite_is_seen_with_a_kept_checkpoint_only(filled: World) -> None:
    with filled.ledger.database.read() as tx:
        kept = proofs.newest_checkpoint(tx).note
    assert findings(filled, since=kept) == []
    rewrite(filled)
    assert findings(filled) == []
    (told,) = findings(filled, since=kept)
    assert told.startswith("your checkpoint does not fit")


def test_a_log_turned_back_does_not_reach_a_kept_checkpoint(filled: World) -> None:
    with filled.ledger.database.read() as tx:
        kept = proofs.newest_checkpoint(tx).note
    with filled.ledger.database.begin() as tx:
        unguard(tx)
        newest = proofs.newest_checkpoint(tx)
        tx.session.execute(delete(LogCheckpoint).where(LogCheckpoint.size == newest.size))
        old = proofs.newest_checkpoint(tx).size
        gone = list(tx.session.execute(select(Leaf.event_id).where(Leaf.position >= old)).scalars())
        tx.session.execute(delete(Leaf).where(Leaf.position >= old))
        tx.session.execute(delete(Event).where(Event.id.in_(gone)))
        tx.session.execute(delete(LogNode).where((LogNode.position + 1) * TILE > old))
        tx.session.execute(update(LogState).values(size=old, last_event_id=min(gone) - 1))
    assert findings(filled) == []
    (told,) = findings(filled, since=kept)
    assert told.startswith("your checkpoint speaks of")


def test_another_log_and_another_key_are_named(filled: World, new_world: NewWorld) -> None:
    other = new_world(core_people=1)
    sequence(other.ledger.database, other.ledger.ring)
    with other.ledger.database.read() as tx:
        foreign = proofs.newest_checkpoint(tx).note
    (said,) = findings(filled, since=foreign)
    assert said.startswith("your checkpoint is not one of this log")
    with filled.ledger.database.read() as tx:
        told = verify_log(tx, other.ledger.ring.public_key_raw()).findings
    assert len(told) >= 2
    assert all("was edited" in each or "no checkpoint" in each for each in told)


@pytest.mark.parametrize(
    ("table", "column"), [("leaves", "leaf_hash"), ("log_nodes", "hash"), ("log_checkpoints", "note")]
)
def test_what_was_written_stays(filled: World, table: str, column: str) -> None:
    for statement in (f"DELETE FROM {table}", f"UPDATE {table} SET {column} = {column}"):
        with pytest.raises(DBAPIError, match="append-only"), filled.ledger.database.begin() as tx:
            tx.session.execute(text(statement))


def test_roots_do_not_depend_on_the_batches(filled: World) -> None:
    with filled.ledger.database.read() as tx:
        size = tx.session.get_one(LogState, 1).size
        before = StoredTree(tx).root(size)
    rewrite_without_change(filled)
    with filled.ledger.database.read() as tx:
        assert StoredTree(tx).root(size) == before


def rewrite_without_change(world: World) -> None:
    with world.ledger.database.begin() as tx:
        unguard(tx)
        for table in (Leaf, LogNode, LogCheckpoint):
            tx.session.execute(delete(table))
        tx.session.execute(update(LogState).values(size=0, last_event_id=0))
    sequence(world.ledger.database, world.ledger.ring)


@pytest.mark.parametrize("table", ["events", "leaves"])
def test_a_row_of_text_is_named_like_any_other(new_world: NewWorld, table: str) -> None:
    """SQLite keeps whatever kind of value it is given."""
    world = new_world(core_people=1)
    sequence(world.ledger.database, world.ledger.ring)
    column, key = {"events": ("body", "id"), "leaves": ("leaf_hash", "position")}[table]
    with world.ledger.database.begin() as tx:
        unguard(tx)
        tx.session.execute(text(f"UPDATE {table} SET {column} = 'text' WHERE {key} = 1"))
    assert "was edited" in " ".join(findings(world))


def test_a_log_without_some_of_its_entries_does_not_grow(filled: World) -> None:
    with filled.ledger.database.begin() as tx:
        unguard(tx)
        tx.session.execute(delete(Leaf).where(Leaf.position >= 590))
        events.append(tx, filled.tenant_id, "test.happened", "e" * 32)
    with pytest.raises(LogDamaged, match="lacuna verify log"):
        sequence(filled.ledger.database, filled.ledger.ring)
