"""Publishing: only from where the model stands, only by who holds the job, one number once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import func, select, update
from support.clock import FixedClock
from support.world import NewWorld, World

from ledger import inventory, jobs, requests, versions
from ledger.database import Database
from ledger.errors import LeaseLost, ObjectMissing, PublishConflict
from ledger.tables import Event, Job, Model, ModelVersion, RequestModel, StoredObject

LEASE_US = 1_000_000


@pytest.fixture
def world(new_world: NewWorld, database_url: str) -> World:
    world = new_world(database_url, core_people=1)
    world.register()
    with world.ledger.database.begin() as tx:
        tx.session.execute(update(Model).values(state="ready", public_digest="d"))
        tx.session.execute(update(Job).values(state="done"))
    return world


@pytest.fixture
def database(world: World, clock: FixedClock) -> Database:
    return Database(world.ledger.database.engine, clock, world.ledger.database.random)


def new_claim(database: Database, world: World, key: str = "advance") -> jobs.Claim:
    with database.begin() as tx:
        tx.session.execute(update(Job).where(Job.state == "ready").values(state="done"))
        jobs.add(tx, world.tenant_id, jobs.ADVANCE, lock_key=key, model_id=world.model_id)
    claim = jobs.claim(database, "w", lease_us=LEASE_US)
    assert claim is not None
    return claim


def candidate(database: Database, world: World, claim: jobs.Claim, start: int | None, upto: int) -> versions.NewVersion:
    names = [
        inventory.write_pending(database, world.ledger.objects, world.tenant_id, kind, claim.owner, [b"x"])
        for kind in ("weights", "statistics")
    ]
    return versions.NewVersion(
        model_id=world.model_id,
        started_from=start,
        applied_seq=upto,
        anchor=start is None,
        weights_object=names[0],
        statistics_object=names[1],
        weights_commitment=f"w{upto}",
        statistics_commitment=f"s{upto}",
        solver_fingerprint="f",
        checks={"transition": "pass"},
        measured={"records": 7, "accuracy": 0.5},
    )


def publish(database: Database, world: World, start: int | None, upto: int) -> ModelVersion:
    claim = new_claim(database, world, f"{start}-{upto}")
    new = candidate(database, world, claim, start, upto)
    with database.begin() as tx:
        version = versions.publish(tx, claim, new)
        jobs.finish(tx, claim)
    return version


def everything(database: Database) -> list[object]:
    with database.read() as tx:
        model = tx.session.execute(select(Model.applied_seq, Model.active_version_id)).one()
        known = tx.session.execute(select(ModelVersion.id, ModelVersion.state).order_by(ModelVersion.number))
        return [tuple(model), *map(tuple, known), tx.session.execute(select(func.max(Event.id))).scalar_one()]


def states(database: Database) -> dict[str, str]:
    with database.read() as tx:
        query = select(StoredObject.name, StoredObject.state).where(StoredObject.kind.in_(("weights", "statistics")))
        return {row.name: row.state for row in tx.session.execute(query)}


def test_the_first_version_is_the_anchor_and_the_next_one_supersedes_it(database: Database, world: World) -> None:
    first = publish(database, world, None, 3)
    assert (first.number, first.anchor_number, first.state, first.applied_seq) == (1, 1, "active", 3)
    assert set(states(database).values()) == {"live"}
    second = publish(database, world, 3, 5)
    assert (second.number, second.anchor_number, second.state) == (2, 1, "active")
    with database.read() as tx:
        assert tx.session.get_one(ModelVersion, first.id).state == "superseded"
        active = versions.active(tx, world.model_id)
        assert active is not None
        assert active.id == second.id
        assert [version.id for version in versions.superseded(tx, world.tenant_id)] == [first.id]
        assert tx.session.get_one(Model, world.model_id).applied_seq == 5
        kinds = tx.session.execute(select(Event.kind).where(Event.subject == second.id)).scalars().all()
        assert kinds == ["version.published"]
    by_name = states(database)
    assert {by_name[first.weights_object or ""], by_name[first.statistics_object or ""]} == {"doomed"}
    assert {by_name[second.weights_object or ""], by_name[second.statistics_object or ""]} == {"live"}


@pytest.mark.parametrize("start", [None, 2, 4])
def test_a_version_made_from_where_the_model_no_longer_stands_is_refused(
    database: Database, world: World, start: int | None
) -> None:
    publish(database, world, None, 3)
    before = everything(database)
    with pytest.raises(PublishConflict):
        publish(database, world, start, 9)
    assert everything(database) == before


def test_a_version_without_a_start_is_refused_when_there_is_none(database: Database, world: World) -> None:
    before = everything(database)
    with pytest.raises(PublishConflict):
        publish(database, world, 0, 3)
    assert everything(database) == before


def test_without_the_lease_nothing_is_published(database: Database, world: World, clock: FixedClock) -> None:
    first = publish(database, world, None, 3)
    claim = new_claim(database, world)
    new = candidate(database, world, claim, 3, 5)
    clock.advance(microseconds=LEASE_US + 1)
    before = everything(database)
    with pytest.raises(LeaseLost), database.begin() as tx:
        versions.publish(tx, claim, new)
    with pytest.raises(LeaseLost), database.begin() as tx:
        versions.confirm(tx, claim, first, started_from=3, upto=9)
    assert everything(database) == before


def test_objects_that_were_given_up_are_not_published(database: Database, world: World) -> None:
    """A sweep on a machine whose clock is ahead may have taken the writer for dead, and its objects away."""
    claim = new_claim(database, world)
    new = candidate(database, world, claim, None, 5)
    with database.begin() as tx:
        inventory.doom(tx, [new.weights_object])
    before = everything(database)
    with pytest.raises(ObjectMissing), database.begin() as tx:
        versions.publish(tx, claim, new)
    inventory.delete_doomed(database, world.ledger.objects, world.tenant_id)
    with pytest.raises(ObjectMissing), database.begin() as tx:
        versions.publish(tx, claim, new)
    assert everything(database) == before


def test_of_two_publishers_at_once_one_wins(database: Database, world: World) -> None:
    publish(database, world, None, 3)
    claims = [new_claim(database, world, key) for key in ("a", "b")]
    made = [candidate(database, world, claim, 3, 5) for claim in claims]

    def attempt(i: int) -> str:
        try:
            with database.begin() as tx:
                versions.publish(tx, claims[i], made[i])
        except PublishConflict:
            return "refused"
        return "published"

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(attempt, range(2))) == ["published", "refused"]
    with database.read() as tx:
        assert list(tx.session.execute(select(ModelVersion.number).order_by(ModelVersion.number)).scalars()) == [1, 2]


def test_confirming_moves_the_sequence_and_passes_requests(database: Database, world: World) -> None:
    first = publish(database, world, None, 3)
    request_id = world.forget("nobody")
    with database.begin() as tx:
        request = requests.get(tx, world.tenant_id, request_id)
        request.state, request.seq = "scrubbing", 8
        tx.session.add(RequestModel(request_id=request_id, model_id=world.model_id))
    claim = new_claim(database, world)
    for start, upto, expected in ((3, 7, "scrubbing"), (7, 8, "published")):
        with database.begin() as tx:
            versions.confirm(tx, claim, first, started_from=start, upto=upto)
        assert world.request(request_id).state == expected
    with pytest.raises(PublishConflict), database.begin() as tx:
        versions.confirm(tx, claim, first, started_from=3, upto=9)
    with database.read() as tx:
        model = tx.session.get_one(Model, world.model_id)
        assert (model.applied_seq, model.active_version_id) == (8, first.id)
        (covered,) = tx.session.execute(select(RequestModel)).scalars()
        assert covered.version_id == first.id


def test_what_was_measured_dies_with_the_version(database: Database, world: World) -> None:
    first = publish(database, world, None, 3)
    publish(database, world, 3, 5)
    with database.begin() as tx:
        versions.mark_destroyed(tx, tx.session.get_one(ModelVersion, first.id))
    with database.read() as tx:
        gone = tx.session.get_one(ModelVersion, first.id)
        assert (gone.state, gone.measured, gone.weights_object, gone.statistics_object) == (
            "destroyed",
            None,
            None,
            None,
        )
        assert gone.destroyed_at is not None
        assert gone.weights_commitment == "w3"  # tells nothing without the salt, which died with the object
        assert versions.superseded(tx, world.tenant_id) == []
        kinds = tx.session.execute(select(Event.kind).where(Event.subject == first.id)).scalars().all()
        assert kinds == ["version.published", "version.destroyed"]
