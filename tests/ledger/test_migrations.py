"""The migrations make exactly the tables that the code expects, on both databases, and can be undone while empty."""

import pytest
from sqlalchemy import Engine, text

from ledger.database import open_engine
from ledger.migrate import differences, downgrade, upgrade


def test_migrations_and_tables_agree_also_after_a_step_back(database_url: str) -> None:
    engine = open_engine(database_url)
    try:
        upgrade(engine)
        assert differences(engine) == []
        downgrade(engine, "0001")
        assert differences(engine) != []
        upgrade(engine)
        assert differences(engine) == []
    finally:
        engine.dispose()


def test_a_cohort_that_is_there_survives_the_step(database_url: str) -> None:
    engine = open_engine(database_url)
    try:
        upgrade(engine, "0001")
        with engine.connect().execution_options(lacuna_write=True) as connection, connection.begin():
            connection.execute(text("INSERT INTO tenants VALUES ('t', 'default', :key, 0, 0)"), {"key": b"k"})
            connection.execute(
                text(
                    "INSERT INTO cohorts (id, tenant_id, name, kind, shape, dtype, class_names, created_at) "
                    "VALUES ('c', 't', 'core', 'core', '[3]', 'float32', '[\"a\", \"b\"]', 0)"
                )
            )
        upgrade(engine)
        with engine.connect() as connection:
            assert connection.execute(text("SELECT id, layout, missing FROM cohorts")).all() == [("c", None, None)]
    finally:
        engine.dispose()


def test_a_step_back_refuses_to_drop_an_imported_core(database_url: str) -> None:
    engine = open_engine(database_url)
    try:
        upgrade(engine)
        with engine.connect().execution_options(lacuna_write=True) as connection, connection.begin():
            connection.execute(text("INSERT INTO tenants VALUES ('t', 'default', :key, 0, 0)"), {"key": b"k"})
            connection.execute(
                text(
                    "INSERT INTO core_imports (id, tenant_id, architecture, leaky, shape, outputs, parameters, digest, "
                    "attested_by, object_name, created_at) "
                    "VALUES ('i', 't', 'mlp', false, '[3]', 2, 1, 'd', 'officer', 'o', 0)"
                )
            )
        with pytest.raises(RuntimeError, match="imported cores"):
            downgrade(engine, "0001")
        assert differences(engine) == []
    finally:
        engine.dispose()


def with_a_model(engine: Engine, mu: str) -> None:
    """Insert a tenant, a cohort, a model with this ridge, and its cohort (which refers to the model)."""
    with engine.connect().execution_options(lacuna_write=True) as connection, connection.begin():
        connection.execute(text("INSERT INTO tenants VALUES ('t', 'default', :key, 0, 0)"), {"key": b"k"})
        connection.execute(
            text(
                "INSERT INTO cohorts (id, tenant_id, name, kind, shape, dtype, class_names, created_at) "
                "VALUES ('c', 't', 'core', 'core', '[3]', 'float32', '[\"a\", \"b\"]', 0)"
            )
        )
        connection.execute(
            text(
                "INSERT INTO models (id, tenant_id, name, state, core_cohort_id, architecture, feature_map, alpha, mu, "
                "capacity, epochs, seed, solver, batch_window_us, created_at) "
                f"VALUES ('m', 't', 'n', 'ready', 'c', 'mlp', 'head', 5, {mu}, 9, 1, 1, 'exact', 0, 0)"
            )
        )
        connection.execute(text("INSERT INTO model_cohorts VALUES ('m', 'c')"))


def ridges(engine: Engine) -> list[float | None]:
    with engine.connect() as connection:
        return list(connection.execute(text("SELECT mu FROM models JOIN model_cohorts ON model_id = id")).scalars())


def test_a_fixed_ridge_survives_both_ways(database_url: str) -> None:
    engine = open_engine(database_url)
    try:
        upgrade(engine, "0002")
        with_a_model(engine, "0.25")
        upgrade(engine)
        assert (ridges(engine), differences(engine)) == ([0.25], [])
        downgrade(engine, "0002")
        assert ridges(engine) == [0.25]
        upgrade(engine)
        assert (ridges(engine), differences(engine)) == ([0.25], [])
    finally:
        engine.dispose()


def test_a_step_back_refuses_a_ridge_that_is_chosen(database_url: str) -> None:
    engine = open_engine(database_url)
    try:
        upgrade(engine)
        with_a_model(engine, "NULL")
        with pytest.raises(RuntimeError, match="ridge or bandwidth"):
            downgrade(engine, "0002")
        assert (ridges(engine), differences(engine)) == ([None], [])
    finally:
        engine.dispose()
