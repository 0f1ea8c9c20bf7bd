"""Replaying a model: what is whole passes, and every tampering is named by the check that must find it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.postgres import temporary_database
from support.replaying import PLANS, SOLVERS, TAMPERINGS, Past, make_past
from support.world import make_world

from ledger.errors import NotFound
from ledger.log import proofs
from workers.errors import KeepsMoving
from workers.replay import run
from workers.replay.findings import Report
from workers.replay.run import Asked, replay


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def past(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Past]:
    """Made once for each database: what a test changes it must change back."""
    folder = tmp_path_factory.mktemp("past")
    if request.param == "sqlite":
        world = make_world(folder, f"sqlite:///{folder / 'ledger.sqlite'}")
        yield make_past(world, PLANS)
        world.ledger.close()
        return
    with temporary_database(request.getfixturevalue("postgres_url")) as url:
        world = make_world(folder, url)
        yield make_past(world, {name: PLANS[name] for name in SOLVERS})
        world.ledger.close()


@pytest.mark.parametrize("name", PLANS)
def test_what_is_whole_passes(past: Past, name: str) -> None:
    _skip_unless_there(past, name)
    key = past.world.ledger.ring.public_key_pem()
    with past.world.ledger.database.read() as tx:
        checkpoint = proofs.newest_checkpoint(tx).note
    report = past.replay(name, keys=key, checkpoint=checkpoint, challenge="dice")
    assert [check for check in report.checks if not check.passed] == []
    found = {check.name: check.what for check in report.checks}
    assert set(found) == {
        *("log", "versions", "objects", "requests", "public part", "stated"),
        *("rows", "features", "statistics", "ridge", "weights"),
    }
    assert set(report.sample["drawn"]) == set(past.requests)
    assert found["rows"].startswith("12 retained records")
    assert ("noise of the certified size" in found["weights"]) == ("noise" in PLANS[name])
    assert report.model == past.models[name]
    assert past.replay(past.models[name]).version == report.version


def _skip_unless_there(past: Past, name: str) -> None:
    if name not in past.models:
        pytest.skip("this model is tried on SQLite only")


@pytest.mark.parametrize("how", TAMPERINGS)
def test_tampering_is_named(past: Past, how: str) -> None:
    change, name, expected = TAMPERINGS[how]
    _skip_unless_there(past, name)
    with change(past):
        found = past.failing(name)
    for check, told in expected.items():
        assert told in found.get(check, ""), found
    # What rests on something that cannot be read fails with it; a version that another certificate names fails there.
    assert set(found) - set(expected) <= {"statistics", "requests", "features", "weights"}, found


def test_the_world_is_whole_again(past: Past) -> None:
    """Stands last: else a tampering that was not undone would have excused the next one."""
    for name in past.models:
        assert past.failing(name) == {}


def test_unknown_models_and_other_keys_are_told(past: Past, tmp_path: Path) -> None:
    for asked in (Asked("nothing", "default", 1), Asked("exact", "nobody", 1)):
        with pytest.raises(NotFound):
            replay(past.world.deps, asked, lambda *_: None)
    other = make_world(tmp_path, f"sqlite:///{tmp_path / 'other.db'}", core_people=1)
    found = past.failing(keys=other.ledger.ring.public_key_pem())
    assert set(found) == {"log", "requests"}
    other.ledger.close()


def test_an_old_checkpoint_covers_what_came_before_it(past: Past) -> None:
    with past.world.ledger.database.read() as tx:
        first, *_ = reversed(proofs.checkpoints(tx))
    sample = past.replay(checkpoint=first.note).sample
    assert sample["requests"] + sample["requests_after_checkpoint"] == len(past.requests)


def test_a_model_that_keeps_moving_is_given_up(past: Past, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = iter(range(100))
    monkeypatch.setattr(run, "_state", lambda *_: (next(seen),))
    monkeypatch.setattr(run, "_once", lambda *_: Report("0" * 32, 1))
    with pytest.raises(KeepsMoving):
        past.replay()
    assert next(seen) == 2 * run.ATTEMPTS
