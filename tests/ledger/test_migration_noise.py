"""The columns of solvers and noise: models that exist stay exact, and no model with noise is taken back to before."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text
from support.world import NewWorld, World

from ledger.errors import DowngradeRefused
from ledger.migrate import differences, downgrade, upgrade
from ledger.tables import Model


@pytest.fixture
def world(new_world: NewWorld, database_url: str) -> World:
    return new_world(database_url, core_people=1)


def stored(world: World) -> tuple[Any, ...]:
    with world.ledger.database.read() as tx:
        model = tx.session.get_one(Model, world.model_id)
        return model.solver, model.noise, model.sigma, model.kappa, model.exposure_budget


def test_models_that_exist_stay_exact_and_without_noise(world: World) -> None:
    world.register()
    engine = world.ledger.database.engine
    downgrade(engine, "0007")
    with engine.connect() as connection:
        columns = connection.execute(text("SELECT * FROM models")).keys()
    assert not {"noise", "exposure_budget"} & set(columns)
    upgrade(engine)
    assert differences(engine) == []
    assert stored(world) == ("exact", None, None, None, None)


def test_a_model_with_noise_is_not_taken_back(world: World) -> None:
    world.register(solver="krylov", noise="isotropic", sigma=0.5, kappa=1e-3, exposure_budget=2.0)
    with pytest.raises(DowngradeRefused, match="published with noise"):
        downgrade(world.ledger.database.engine, "0007")
    upgrade(world.ledger.database.engine)
    assert stored(world) == ("krylov", "isotropic", 0.5, 1e-3, 2.0)
