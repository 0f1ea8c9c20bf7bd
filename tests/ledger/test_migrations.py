"""The migrations make exactly the tables that the code expects, on both databases, and can be undone while empty."""

import pytest
from sqlalchemy import text

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
