"""Which records a version holds, what moves it on, and that finding them takes no walk through all records."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import event, insert, select, update
from support.world import NewWorld, World, person

from ledger import changes, folding, purging, requests, uploads
from ledger.tables import FeatureShard, Record, RecordShard, Upload

Change = tuple[set[int], set[int]]


@pytest.fixture
def world(new_world: NewWorld, database_url: str) -> World:
    world = new_world(database_url, core_people=1)
    world.register()
    return world


def add_upload(world: World, *names: str) -> int:
    """Store an upload and put it into the sequence, with made-up feature shards; return its number there."""
    upload_id = world.upload(*(person(name, 3) for name in names))
    with world.ledger.database.begin() as tx:
        for shard in tx.session.execute(select(RecordShard.id).where(RecordShard.upload_id == upload_id)).scalars():
            tx.session.add(FeatureShard(model_id=world.model_id, record_shard_id=shard, object_name=f"of {shard}"))
        seq = changes.next_change(tx, world.tenant_id, changes.ADDED, upload_id=upload_id)
        tx.session.execute(update(Upload).where(Upload.id == upload_id).values(added_seq=seq, state="added"))
        return seq


def forget(world: World, name: str) -> int:
    world.forget(name)
    with world.ledger.database.begin() as tx:
        return requests.resolve_accepted(tx, world.tenant_id)


def ids(found: list[folding.FeatureRows]) -> set[int]:
    listed = [record_id for shard in found for record_id in shard.classes]
    assert len(listed) == len(set(listed))
    return set(listed)


def test_a_version_holds_what_was_added_and_not_removed_by_then(world: World) -> None:
    first, gone, second, late = (
        add_upload(world, "a", "b"),
        forget(world, "a"),
        add_upload(world, "c"),
        forget(world, "c"),
    )
    assert first < gone < second < late
    with world.ledger.database.read() as tx:
        held = {at: ids(folding.held(tx, world.model_id, at)) for at in (0, first, gone, second, late)}
        assert [len(held[at]) for at in held] == [0, 6, 3, 6, 3]
        for a in held:
            for s in (s for s in held if s >= a):
                added = ids(folding.added(tx, world.model_id, a, s))
                removed = ids(folding.removed(tx, world.model_id, a, s))
                assert (held[a] | added) - removed == held[s], (a, s)
                assert not added & held[a]
                assert removed <= held[a]
        assert folding.removed(tx, world.model_id, None, late) == []
        assert ids(folding.added(tx, world.model_id, None, late)) == held[late]


def test_classes_and_objects_are_those_of_the_records(world: World) -> None:
    seq = add_upload(world, "a", "b")
    with world.ledger.database.read() as tx:
        stored = {
            row.id: (f"of {row.shard_id}", row.class_index) for row in tx.session.execute(select(Record)).scalars()
        }
        listed = {
            record_id: (shard.object_name, label)
            for shard in folding.held(tx, world.model_id, seq)
            for record_id, label in shard.classes.items()
        }
        assert listed == {record_id: value for record_id, value in stored.items() if record_id in listed}
        assert len(listed) == 6
        (shard_id, *_) = tx.session.execute(select(Record.shard_id).where(Record.id.in_(listed))).scalars()
        assert folding.classes_of(tx, shard_id).items() <= {i: label for i, (_, label) in listed.items()}.items()


def test_uploads_that_are_only_stored_are_held_by_no_version(world: World) -> None:
    world.upload(person("a"))
    with world.ledger.database.read() as tx:
        assert folding.held(tx, world.model_id, 100) == []


def test_shards_without_features_are_listed_until_they_have_them(world: World) -> None:
    upload_id = world.upload(person("a", 6))
    with world.ledger.database.read() as tx:
        assert folding.shards_without_features(tx, world.model_id) == []  # not added yet
        assert len(folding.shards_without_features(tx, world.model_id, upload_id=upload_id)) == 2
    add_upload(world, "b")
    with world.ledger.database.begin() as tx:
        seq = changes.next_change(tx, world.tenant_id, changes.ADDED, upload_id=upload_id)
        tx.session.execute(update(Upload).where(Upload.id == upload_id).values(added_seq=seq))
        todo = folding.shards_without_features(tx, world.model_id)
        assert {shard.upload_id for shard in todo} == {upload_id}
        tx.session.add(FeatureShard(model_id=world.model_id, record_shard_id=todo[0].id, object_name="x"))
        tx.session.flush()
        assert len(folding.shards_without_features(tx, world.model_id)) == 1


def test_more_uploads_than_a_statement_has_room_for(new_world: NewWorld, fresh_postgres_database: str) -> None:
    """A first version may fold in tens of thousands of uploads; their ids cannot all be parameters."""
    world = new_world(fresh_postgres_database, core_people=1)
    world.register()
    seq = add_upload(world, "a")
    with world.ledger.database.begin() as tx:
        tx.session.execute(
            insert(Upload),
            [
                {
                    "id": f"{n:032x}",
                    "tenant_id": world.tenant_id,
                    "cohort_id": world.user_id,
                    "state": "added",
                    "records": 0,
                    "stored_seq": seq,
                    "added_seq": seq,
                    "lease_until": 0,
                    "created_at": 0,
                }
                for n in range(66_000)
            ],
        )
        assert len(ids(folding.held(tx, world.model_id, seq))) == 3


@pytest.fixture
def plans(world: World) -> Iterator[Callable[[], list[str]]]:
    """Collect the query plans of all statements over records, on SQLite."""
    if not world.ledger.database.is_sqlite:
        pytest.skip("PostgreSQL plans by the size of its tables")
    found: list[str] = []

    def explain(connection: object, cursor: object, statement: str, parameters: object, *_: object) -> None:
        if re.match(r"(SELECT|UPDATE|DELETE)", statement) and re.search(r"\brecords\b", statement):
            connection = world.ledger.database.engine.raw_connection()
            rows = connection.cursor().execute("EXPLAIN QUERY PLAN " + statement, parameters).fetchall()  # type: ignore[arg-type]  # as SQLAlchemy gives them
            found.extend(f"{row[3]}   <- {statement}" for row in rows)
            connection.close()

    event.listen(world.ledger.database.engine, "before_cursor_execute", explain)
    yield lambda: found
    event.remove(world.ledger.database.engine, "before_cursor_execute", explain)


def test_a_few_records_are_found_without_a_walk_through_all_of_them(
    world: World, plans: Callable[[], list[str]]
) -> None:
    before = add_upload(world, "a", "b")
    request_id = world.forget("a")
    with world.ledger.database.begin() as tx:
        seq = requests.resolve_accepted(tx, world.tenant_id)
        assert ids(folding.removed(tx, world.model_id, before, seq))
        assert not ids(folding.added(tx, world.model_id, before, seq))
        assert purging.shards(tx, [request_id])
        assert purging.records_left(tx, [request_id]) == 1
    abandoned = uploads.begin(world.ledger, world.tenant_id, world.user_id)
    uploads.abandon(world.ledger, abandoned)
    walks = [
        plan
        for plan in plans()
        if re.match(r"SCAN records|SEARCH records\S* USING INDEX \S+ \(cohort_id=\?\)|SCAN records_1", plan)
    ]
    assert walks == []
    assert len(plans()) > 10
