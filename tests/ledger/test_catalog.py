"""Cohorts and models: a name is given once, also when two ask for it at the same moment."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.world import CLASSES, SHAPE, NewWorld, World

from ledger import catalog
from ledger.errors import NameTaken


@pytest.fixture
def world(new_world: NewWorld, database_url: str) -> World:
    return new_world(database_url, core_people=1)


def cohort(world: World) -> str:
    with world.ledger.database.begin() as tx:
        return catalog.create_cohort(
            tx, world.tenant_id, name="same", kind="user", shape=SHAPE, dtype="float32", class_names=CLASSES
        ).id


@pytest.mark.parametrize("make", [cohort, lambda world: world.register("same")])
def test_of_several_who_take_a_name_at_once_one_gets_it(world: World, make: Callable[[World], str]) -> None:
    together = threading.Barrier(4)

    def attempt(_: int) -> str:
        together.wait(timeout=30)
        try:
            return make(world)
        except NameTaken:
            return "taken"

    with ThreadPoolExecutor(4) as pool:
        answers = sorted(pool.map(attempt, range(4)))
    assert answers.count("taken") == 3
