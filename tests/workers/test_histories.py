"""Whatever was added, corrected, forgotten, held, released and brought back: the bytes are those of what is left."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from support.world import Person, World, make_world, person

from ledger import requests
from ledger.errors import RecordsClash, RecordsUnknown, SubjectHeld, SubjectSuppressed

Row = tuple[np.ndarray, int]
NAMES = ("ada", "bob")
KINDS = ("add", "correct", "correct", "forget", "forget class", "hold", "release", "withdraw", "work")
HISTORIES = st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 2)), min_size=3, max_size=12)


HELD_AND_BACK = [
    *(("correct", 0), ("hold", 0), ("forget", 0), ("correct", 0), ("work", 0), ("release", 0), ("add", 0)),
    *(("withdraw", 0), ("add", 0), ("work", 0), ("correct", 0), ("hold", 1), ("forget", 1), ("forget class", 2)),
]
CORRECTED_TWICE = [("correct", 0), ("correct", 0), ("forget", 1), ("withdraw", 1), ("add", 1), ("correct", 1)]


@dataclass
class Stopped:
    """A request of which holds on these people kept something back: by subject, or (a label) by class."""

    label: int | None
    names: set[str]


@dataclass
class Expected:
    """What plain dictionaries make of the same history. Records are known by their person and place."""

    records: dict[tuple[str, int], Row] = field(default_factory=dict)
    suppressed: set[str] = field(default_factory=set)
    holds: dict[str, str] = field(default_factory=dict)
    stopped: list[Stopped] = field(default_factory=list)

    def put(self, p: Person) -> None:
        self.records |= {(p.name, place): row for place, row in enumerate(zip(p.x, p.y, strict=True))}

    def selected(self, name: str | None, label: int | None) -> set[tuple[str, int]]:
        return {
            key
            for key, (_, y) in self.records.items()
            if (name is None or key[0] == name) and (label is None or y == label)
        }

    def forget(self, name: str | None, label: int | None) -> None:
        selected = self.selected(name, label)
        held = {who for who, _ in selected if who in self.holds}
        for key in selected:
            if key[0] not in held:
                del self.records[key]
        if held:
            self.stopped.append(Stopped(label, held))

    def release(self, name: str) -> int:
        del self.holds[name]
        again = [one for one in self.stopped if name in one.names]
        self.stopped = [one for one in self.stopped if name not in one.names]
        for one in again:
            for who in one.names:
                self.forget(who, one.label)
        return len(again)

    def people(self) -> list[Person]:
        rows = list(self.records.values())
        return [Person("all", np.stack([x for x, _ in rows]), np.array([y for _, y in rows]))] if rows else []


def resolve(world: World) -> None:
    """Do what a worker does first: give every accepted request its place in the sequence."""
    with world.ledger.database.begin() as tx:
        requests.resolve_accepted(tx, world.tenant_id)


def step(world: World, expected: Expected, kind: str, number: int, content: Person) -> None:
    name = content.name
    places = {(name, place) for place in range(len(content.y))}
    if kind == "add":
        allowed = name not in expected.suppressed and not places & expected.records.keys()
        accepted = succeeds(world, content, corrects=False)
    elif kind == "correct":
        allowed = name not in expected.holds and places <= expected.records.keys()
        accepted = succeeds(world, content, corrects=True)
    else:
        allowed = accepted = False
    assert accepted == allowed
    if accepted:
        expected.put(content)
    if kind == "forget":
        world.forget(name)
        resolve(world)
        expected.suppressed.add(name)
        expected.forget(name, None)
    elif kind == "forget class":
        world.forget(labels=(number,))
        resolve(world)
        expected.forget(None, number)
    elif kind == "hold" and name not in expected.holds:
        expected.holds[name] = world.hold(name)
    elif kind == "release" and name in expected.holds:
        filed = world.release(expected.holds[name])
        resolve(world)
        assert len(filed) == expected.release(name)
    elif kind == "withdraw":
        assert world.withdraw(name) == (name in expected.suppressed)
        expected.suppressed.discard(name)
    elif kind == "work":
        world.work()


def succeeds(world: World, content: Person, *, corrects: bool) -> bool:
    try:
        world.upload(content, corrects=corrects)
    except (RecordsClash, RecordsUnknown, SubjectHeld, SubjectSuppressed):
        return False
    return True


@given(history=HISTORIES)
@settings(
    max_examples=8,
    deadline=None,
    phases=(Phase.explicit, Phase.generate),
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
@example(HELD_AND_BACK)
@example(CORRECTED_TWICE)
def test_the_bytes_are_those_of_a_service_that_only_ever_had_what_is_left(history: list[tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        world = make_world(Path(one), f"sqlite:///{one}/ledger.sqlite")
        never = make_world(Path(two), f"sqlite:///{two}/ledger.sqlite")
        try:
            expected = Expected()
            for name in ("always", *NAMES):
                step(world, expected, "add", 0, person(name, 2))
            world.register()
            for turn, (kind, number) in enumerate(history):
                name = NAMES[number % len(NAMES)]
                step(world, expected, kind, number, replace(person(f"{name} {turn}", 2), name=name))
            world.work()
            if people := expected.people():
                never.upload(*people)
            never.register()
            never.work()
            assert world.statistics() == never.statistics()
            assert world.weights() == never.weights()
            assert not world.jobs("failed")
        finally:
            world.ledger.close()
            never.ledger.close()
