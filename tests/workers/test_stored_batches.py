"""Descent sees the stored rows of the retained records: each once a pass, kept in memory or read anew."""

from __future__ import annotations

import pytest
import torch
from support.world import NewWorld, World, person

from ledger import folding
from ledger.tables import Model
from unlearning.errors import OutOfRange
from unlearning.linear.batches import Batches
from unlearning.linear.from_rows import features_of, targets_of
from unlearning.rows import join
from workers import models, rows
from workers.stored_batches import stored_batches


@pytest.fixture
def world(new_world: NewWorld) -> World:
    world = new_world()
    world.upload(*(person(f"person-{i}") for i in range(6)))
    world.register()
    world.work()
    world.forget("person-2")
    world.work()
    return world


def batches(world: World, size: int) -> tuple[Batches, list[folding.FeatureRows]]:
    with world.ledger.database.read() as tx:
        model = tx.session.get_one(Model, world.model_id)
        held = folding.held(tx, model.id, model.applied_seq or 0)
    public = models.load_public(world.deps, world.model_id)
    return stored_batches(world.ledger, world.model_id, public, held, size), held


def shown(made: Batches, seed: int = 0) -> torch.Tensor:
    """Return features and targets of one pass, side by side."""
    parts = list(made(torch.Generator().manual_seed(seed)))
    assert {features.count for features, _ in parts} <= {1, 2, 3, 4, 5}
    return torch.cat([torch.cat([features.phi, targets], dim=1) for features, targets in parts])  # type: ignore[attr-defined]  # shared features


@pytest.mark.parametrize("kept_bytes", [0, 2**28])
@pytest.mark.parametrize("shards_at_once", [1, 128])
def test_each_retained_record_once(
    world: World, monkeypatch: pytest.MonkeyPatch, kept_bytes: int, shards_at_once: int
) -> None:
    monkeypatch.setattr("workers.stored_batches.KEPT_BYTES", kept_bytes)
    monkeypatch.setattr("workers.rows.SHARDS_AT_ONCE", shards_at_once)
    made, held = batches(world, size=5)
    public = models.load_public(world.deps, world.model_id)
    whole = join(list(rows.read_groups(world.ledger, world.model_id, public, held)))
    everybody = torch.cat([features_of(whole, public.plan).phi, targets_of(whole, public.plan)], dim=1)
    first, second = shown(made), shown(made, seed=1)
    assert len(first) == 15
    for one in (first, second):
        assert sorted(one.tolist()) == sorted(everybody.tolist())
    assert first.tolist() != second.tolist(), "in another order"


def test_rows_that_fit_are_read_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    made, _ = batches(world, size=5)
    read = []
    honest = rows.read
    monkeypatch.setattr("workers.rows.read", lambda *a: read.append(1) or honest(*a))
    shown(made)
    shown(made)
    assert len(read) == 1


def test_an_empty_batch_makes_no_sense(world: World) -> None:
    with pytest.raises(OutOfRange):
        batches(world, size=0)
