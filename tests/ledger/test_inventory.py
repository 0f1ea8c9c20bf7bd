"""The inventory: every object in the store has a row that says why, whatever crashed between."""

from __future__ import annotations

import pytest
from sqlalchemy import select, update
from support.interrupted import interrupted
from support.world import NewWorld, World

from ledger import inventory, tenants, uploads
from ledger.errors import LedgerError, ObjectMissing
from ledger.objects import Written
from ledger.tables import StoredObject


@pytest.fixture
def world(new_world: NewWorld, database_url: str) -> World:
    return new_world(database_url, core_people=1)


def write(world: World, owner: str = "job:1:1", tenant_id: str | None = None, kind: str = "features") -> str:
    return inventory.write_pending(
        world.ledger.database, world.ledger.objects, tenant_id or world.tenant_id, kind, owner, [b"ab", b"c"]
    )


def row(world: World, name: str) -> StoredObject | None:
    with world.ledger.database.read() as tx:
        return tx.session.get(StoredObject, name)


def state(world: World, name: str) -> str:
    found = row(world, name)
    return "no row" if found is None else found.state


def test_an_object_is_booked_before_it_is_written_and_measured_after(world: World) -> None:
    class Watching:
        """A store that looks into the inventory while it writes."""

        def write(self, name: str, parts: list[bytes]) -> Written:
            booked = row(world, name)
            assert booked is not None
            assert (booked.state, booked.owner, booked.size, booked.sha256) == ("pending", "job:1:1", 0, None)
            return world.ledger.objects.write(name, parts)

    name = inventory.write_pending(
        world.ledger.database,
        Watching(),  # type: ignore[arg-type]  # all that is called
        world.tenant_id,
        "features",
        "job:1:1",
        [b"ab", b"c"],
    )
    written = row(world, name)
    assert written is not None
    assert (written.state, written.size) == ("pending", 3)
    assert written.sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # of b"abc"
    with world.ledger.database.read() as tx:
        assert inventory.unfinished(tx, world.tenant_id) == [name]
        assert inventory.pending_features(tx, world.tenant_id) == [name]


def test_a_crash_between_writing_and_measuring_leaves_a_pending_row(world: World) -> None:
    (name,) = inventory.book(world.ledger.database, world.tenant_id, "features", "job:1:1", count=1)
    world.ledger.objects.write(name, [b"abc"])
    with world.ledger.database.begin() as tx:
        inventory.doom_abandoned(tx, world.tenant_id)
    assert inventory.delete_doomed(world.ledger.database, world.ledger.objects, world.tenant_id) == 1
    assert not world.ledger.objects.exists(name)
    assert state(world, name) == "no row"


def test_living_doomed_deleted(world: World) -> None:
    kept, gone, lost = (write(world) for _ in range(3))
    with world.ledger.database.begin() as tx:
        inventory.enliven(tx, [kept, gone])
    with world.ledger.database.begin() as tx:
        inventory.doom(tx, [gone, None, lost])
        assert sorted(inventory.doomed(tx, world.tenant_id)) == sorted([gone, lost])
        assert inventory.live(tx, [kept, gone]) == {kept}
    world.ledger.objects.delete(lost)  # a crash came between deleting and forgetting the row
    assert inventory.delete_doomed(world.ledger.database, world.ledger.objects, world.tenant_id) == 2
    assert [world.ledger.objects.exists(name) for name in (kept, gone)] == [True, False]
    assert [state(world, name) for name in (kept, gone, lost)] == ["live", "no row", "no row"]


@pytest.mark.parametrize("how", ["doomed", "deleted", "live"])
def test_only_what_is_pending_can_come_to_life(world: World, how: str) -> None:
    fine, other = write(world), write(world)
    with world.ledger.database.begin() as tx:
        if how == "live":
            inventory.enliven(tx, [other])
        else:
            inventory.doom(tx, [other])
    if how == "deleted":
        inventory.delete_doomed(world.ledger.database, world.ledger.objects, world.tenant_id)
    with pytest.raises(ObjectMissing), world.ledger.database.begin() as tx:
        inventory.enliven(tx, [fine, other])
    assert state(world, fine) == "pending"


def test_an_object_that_cannot_be_deleted_keeps_its_row(world: World) -> None:
    name = write(world)
    with world.ledger.database.begin() as tx:
        inventory.doom(tx, [name])

    class Stubborn:
        """A store that says it has deleted and has not."""

        def delete(self, _name: str) -> None:
            pass

        def exists(self, wanted: str) -> bool:
            return world.ledger.objects.exists(wanted)

    assert inventory.delete_doomed(world.ledger.database, Stubborn(), world.tenant_id) == 0  # type: ignore[arg-type]  # all that is called
    assert state(world, name) == "doomed"


def test_tenants_do_not_delete_each_others_objects(world: World) -> None:
    with world.ledger.database.begin() as tx:
        other = tenants.create_tenant(tx, world.ledger.ring, "other").id
    mine, theirs = write(world), write(world, tenant_id=other)
    with world.ledger.database.begin() as tx:
        inventory.doom_abandoned(tx, world.tenant_id)
        assert inventory.doomed(tx, other) == []
    assert inventory.delete_doomed(world.ledger.database, world.ledger.objects, world.tenant_id) == 1
    assert [world.ledger.objects.exists(name) for name in (mine, theirs)] == [False, True]


def test_more_objects_than_one_statement_names(world: World) -> None:
    names = inventory.book(world.ledger.database, world.tenant_id, "features", "job:1:1", count=3)
    with world.ledger.database.begin() as tx:
        tx.session.add_all(
            StoredObject(
                name=f"{n:032x}", tenant_id=world.tenant_id, kind="x", state="pending", owner="job:1:1", created_at=0
            )
            for n in range(1_200)
        )
    with world.ledger.database.begin() as tx:
        every = [*names, *(f"{n:032x}" for n in range(1_200))]
        inventory.enliven(tx, every)
        assert inventory.unfinished(tx, world.tenant_id) == []
        inventory.doom(tx, every)
    assert inventory.delete_doomed(world.ledger.database, world.ledger.objects, world.tenant_id) == 1_203
    with world.ledger.database.read() as tx:
        assert not tx.session.execute(select(StoredObject).where(StoredObject.owner == "job:1:1")).all()


def test_strangers_are_objects_without_a_row_and_no_write_in_progress(world: World) -> None:
    world.ledger.objects.write("ab" * 16, [b"from outside"])

    class Slow:
        """A store in which an object appears while its names are being listed."""

        def names(self) -> list[str]:
            listed = list(world.ledger.objects.names())
            return [*listed, write(world)]

    assert inventory.strangers(world.ledger.database, Slow()) == ["ab" * 16]  # type: ignore[arg-type]  # all that is called


@pytest.mark.parametrize("owner", ["upload", "job"])
def test_an_object_whose_row_was_swept_meanwhile_is_not_left_in_the_store(world: World, owner: str) -> None:
    """A writer slept between booking and writing; when it wakes up, nobody would ever look for its object again."""
    upload_id = uploads.begin(world.ledger, world.tenant_id, world.user_id)
    name = f"upload:{upload_id}" if owner == "upload" else "job:77:1"

    def sweep() -> None:
        with world.ledger.database.begin() as tx:
            tx.session.execute(update(StoredObject).where(StoredObject.owner == name).values(state="doomed"))
        inventory.delete_doomed(world.ledger.database, world.ledger.objects, world.tenant_id)

    store = interrupted(world, sweep).objects
    with pytest.raises(LedgerError):
        inventory.write_pending(world.ledger.database, store, world.tenant_id, "records", name, [b"secret"])
    assert inventory.strangers(world.ledger.database, world.ledger.objects) == []
