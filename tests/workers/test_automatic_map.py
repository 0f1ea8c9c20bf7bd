"""A model that is registered with feature_map auto becomes one with a fixed map, chosen from the core alone."""

from __future__ import annotations

import pytest
from support.world import NewWorld, World, person

from ledger.tables import Job, Model


@pytest.fixture
def world(new_world: NewWorld) -> World:
    return new_world(shard_records=16)


def row(world: World, model_id: str) -> Model:
    with world.ledger.database.read() as tx:
        return tx.session.get_one(Model, model_id)


def training(world: World, model_id: str) -> Job:
    (job,) = [job for job in world.jobs("done") if job.kind == "train_core" and job.model_id == model_id]
    return job


@pytest.mark.parametrize("ridge", [{}, {"mu": None, "mu_grid": (0.01, 0.1, 1.0)}])
def test_the_model_is_the_one_that_registering_the_chosen_map_gives(
    world: World, ridge: dict[str, tuple[float, ...] | None]
) -> None:
    world.upload(*(person(f"person-{i}") for i in range(8)))
    chosen_id = world.register("auto", feature_map="auto", **ridge)
    world.work()
    chosen, result = row(world, chosen_id), training(world, chosen_id).result
    assert result is not None
    assert chosen.feature_map in ("head", "pooled", "nystrom")
    assert result["chosen"]["feature_map"] == chosen.feature_map
    assert len(result["tried"]) == 8
    named_id = world.register(
        "named", feature_map=chosen.feature_map, width=chosen.width, bandwidth=chosen.bandwidth, **ridge
    )
    world.work()
    named = row(world, named_id)
    assert named.public_digest == chosen.public_digest
    assert world.weights(named_id) == world.weights(chosen_id)
    assert training(world, named_id).result is None


def test_users_records_have_no_part_in_the_choice(new_world: NewWorld) -> None:
    digests = []
    for people in ([], [person(f"person-{i}") for i in range(6)]):
        world = new_world(shard_records=16)
        if people:
            world.upload(*people)
        model_id = world.register(feature_map="auto")
        world.work()
        digests.append((row(world, model_id).public_digest, training(world, model_id).result))
    assert digests[0] == digests[1]


def test_too_small_a_core_fails_the_model_with_the_reason(new_world: NewWorld) -> None:
    world = new_world(core_people=3)
    model_id = world.register(feature_map="auto")
    world.work()
    failed = row(world, model_id)
    assert failed.state == "failed"
    assert ">= 20 for feature_map auto" in (failed.error or "")
