"""No migration is undone over data: whatever a dropped table or column holds stays, and so does everything else."""

from __future__ import annotations

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, func, select, text
from support.world import NewWorld, World, person

from ledger.data_loss import columns_of, contents
from ledger.errors import DowngradeRefused
from ledger.migrate import _config, downgrade, require_current, upgrade
from ledger.tables import Base


@pytest.fixture
def world(new_world: NewWorld, database_url: str) -> World:
    return new_world(database_url, core_people=1)


def everything(engine: Engine) -> dict[str, list[tuple[object, ...]]]:
    with engine.connect() as connection:
        return {
            name: sorted((tuple(row) for row in connection.execute(table.select())), key=repr)
            for name, table in Base.metadata.tables.items()
        }


def test_every_migration_refuses_to_lose_what_a_used_installation_holds(world: World) -> None:
    world.upload(*(person(name) for name in "ab"))
    world.register(mu=None, mu_grid=(1e-3, 1e-2))
    world.work()
    world.hold("b")
    world.forget("a")
    world.work()
    engine = world.ledger.database.engine
    before = everything(engine)
    scripts = list(ScriptDirectory.from_config(_config()).walk_revisions())
    refused = []
    for script in scripts:
        target = script.down_revision or "base"
        try:
            downgrade(engine, str(target))
        except DowngradeRefused:
            refused.append(script.revision)
            require_current(engine)
            assert everything(engine) == before
        else:
            upgrade(engine)
            assert everything(engine) == before, f"{script.revision} lost something"
    assert {"0001", "0003", "0004"} <= set(refused)


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("UPDATE uploads SET error = 'why'", "column uploads.error"),
        ("UPDATE models SET batch_latest_us = 5", "column models.batch_latest_us"),
        ("UPDATE models SET exposure_budget = 0.5", "column models.exposure_budget"),
    ],
)
def test_one_value_in_a_column_is_enough(world: World, statement: str, named: str) -> None:
    world.register()
    engine = world.ledger.database.engine
    with engine.connect().execution_options(lacuna_write=True) as connection, connection.begin():
        connection.execute(text(statement))
    before = everything(engine)
    with pytest.raises(DowngradeRefused, match=named):
        downgrade(engine, "0005")
    require_current(engine)
    assert everything(engine) == before


def test_one_row_is_enough(world: World) -> None:
    engine = world.ledger.database.engine
    with pytest.raises(DowngradeRefused, match="table tenants"):
        downgrade(engine, "base")
    with engine.connect() as connection:
        assert connection.execute(select(func.count()).select_from(text("tenants"))).scalar_one() == 1


def test_what_loses_nothing_is_done(world: World) -> None:
    world.register()
    engine = world.ledger.database.engine
    before = everything(engine)
    downgrade(engine, "0004")
    with engine.connect() as connection:
        assert "batch_minimum" not in columns_of(connection)["models"]
    upgrade(engine)
    assert everything(engine) == before


def test_the_null_of_json_counts_as_nothing(world: World) -> None:
    with world.ledger.database.begin() as tx:
        cohorts = Base.metadata.tables["cohorts"]
        tx.session.execute(cohorts.update().values(column_names=None))  # SQLAlchemy writes the text null
    with world.ledger.database.engine.connect() as connection:
        seen = contents(connection)
    assert seen.rows["cohorts"] == 2
    assert "column_names" not in seen.filled["cohorts"]
    assert "class_names" in seen.filled["cohorts"]
