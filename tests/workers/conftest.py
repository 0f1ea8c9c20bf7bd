"""What tests of forgetting compare with: a service that never saw what another one has forgotten."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support.world import NewWorld, Person, World


@pytest.fixture
def only_ever(new_world: NewWorld) -> Callable[..., World]:
    """Build a service that only ever receives these people's records."""

    def build(*people: Person) -> World:
        world = new_world()
        world.upload(*people)
        world.register()
        world.work()
        return world

    return build
