"""Whatever is lost while people come, are corrected and leave: no version holds a record twice, the end is exact."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from sqlalchemy import select
from support.damaging import deferred, lose, rebuilt, settle
from support.leftovers import leftovers
from support.world import NewWorld, Person, World, person

from ledger import folding, jobs, tenants
from ledger.tables import FeatureShard, ForgetRequest, Model, Record, StoredObject
from unlearning.statistics import Statistics
from workers.runner import run_next

RECORDS = 2
STEPS = 4


@dataclass
class Story:
    """What happened so far: people's newest content, who was in a version, and what puts lost objects back."""

    world: World
    rng: np.random.Generator
    now: dict[str, Person]
    learned: set[str] = field(default_factory=set)
    lost: dict[str, Callable[[], None]] = field(default_factory=dict)

    def change(self) -> None:
        """Somebody is forgotten or corrected, or somebody new comes."""
        what, name = self.rng.integers(4), str(self.rng.choice(sorted(self.now)))
        if what == 0 and len(self.now) > 2:
            self.world.forget(name)
            del self.now[name]
            self.learned.discard(name)
        elif what == 3:
            new = person(f"new-{self.rng.integers(10**9)}", RECORDS)
            self.world.upload(new)
            self.now[new.name] = new
        else:
            one = self.now[name]
            self.now[name] = replace(one, x=one.x + 1)
            self.world.upload(self.now[name], corrects=True)

    def lose_some(self) -> None:
        with self.world.ledger.database.read() as tx:
            names = sorted(tx.session.execute(select(FeatureShard.object_name)).scalars())
        for name in self.rng.choice(names, min(2, len(names)), replace=False).tolist():
            if self.world.ledger.objects.exists(name):
                self.lost[name] = lose(self.world, name)

    def repair(self) -> None:
        """Put everything back that is still called for, and retry every failed job."""
        with self.world.ledger.database.read() as tx:
            known = set(tx.session.execute(select(StoredObject.name)).scalars())
        for name, put_back in self.lost.items():
            if name in known:
                put_back()
        self.lost.clear()
        while failed := self.world.jobs("failed"):
            with self.world.ledger.database.begin() as tx:
                jobs.retry(tx, self.world.tenant_id, failed[0].id)
            settle(self.world)

    def check(self) -> None:
        """Of no record two forms are held, and of none that was ever learned and not forgotten none is."""
        world = self.world
        with world.ledger.database.read() as tx:
            model = tx.session.get_one(Model, world.model_id)
            shards = folding.held(tx, model.id, model.applied_seq or 0)
            ids = [record_id for shard in shards for record_id in shard.classes]
            keys = Counter(tx.session.execute(select(Record.record_key).where(Record.id.in_(ids))).scalars())
            hasher = tenants.alias_hasher(tx, world.ledger.ring, world.tenant_id)
        assert Statistics.from_bytes(world.statistics()).count == len(ids)
        assert set(keys.values()) <= {1}
        held = {name for name in self.now if hasher.record_key(world.user_id, f"{name}/0") in keys}
        assert self.learned <= held
        self.learned = held


@pytest.mark.parametrize("seed", [1, 3])
def test_after_repair_everything_is_as_if_nothing_had_been_lost(
    new_world: NewWorld, database_url: str, seed: int
) -> None:
    world = new_world(database_url, shard_records=RECORDS)
    people = [person(f"person-{i}", RECORDS) for i in range(5)]
    world.upload(*people)
    world.register()
    world.work()
    rng = np.random.default_rng(seed)
    story = Story(world, rng, {one.name: one for one in people})
    troubles = 0
    for _ in range(STEPS):
        for _ in range(rng.integers(1, 4)):
            story.change()
        while rng.random() < 0.8 and run_next(world.deps):  # so that trouble comes before, between and after jobs
            pass
        story.lose_some()
        settle(world)
        story.check()
        troubles += deferred(world)
        if rng.random() < 0.4:
            story.repair()
            story.check()
    story.repair()
    story.check()
    assert troubles, "nothing was ever deferred: this proves nothing"
    assert (deferred(world), leftovers(world.ledger)) == (0, [])
    with world.ledger.database.read() as tx:
        assert set(tx.session.execute(select(ForgetRequest.state)).scalars()) <= {"completed"}
    assert rebuilt(world) == {"equal": True, "records": RECORDS * len(story.now)}
    never = new_world()
    never.upload(*story.now.values())
    never.register()
    never.work()
    assert (world.statistics(), world.weights()) == (never.statistics(), never.weights())
