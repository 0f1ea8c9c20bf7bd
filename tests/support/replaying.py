"""A model with a past, and every way to tamper with it, each of which can be undone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sqlalchemy import delete, insert, select

from ledger import artifacts, certificates
from ledger.database import Transaction
from ledger.dsse import verify_envelope
from ledger.log.sequencer import sequence
from ledger.shards import InMemory, ShardReader, encode_shard
from ledger.tables import Certificate, FeatureShard, Lease, ModelVersion, Record, StoredObject
from ledger.uploads import feature_context
from support.world import World, person
from unlearning.statistics import Statistics
from unlearning.weights import weights_from_bytes, weights_to_bytes
from workers import models
from workers.replay.findings import Report
from workers.replay.run import Asked, replay

NOISY = {"sigma": 0.2, "kappa": 2e-3, "mu": 0.05}
PLANS: dict[str, dict[str, Any]] = {
    "exact": {},
    "chosen": {"mu": None, "mu_grid": (1e-3, 1e-2, 1e-1)},
    "noisy": {"solver": "exact", "noise": "inverse_hessian", **NOISY},
    "krylov": {"solver": "krylov", "noise": "isotropic", **NOISY},
    "sgd": {"solver": "sgd", "noise": "isotropic", **NOISY, "kappa": 0.2},
}
SOLVERS = ("exact", "krylov", "sgd")
"""What is tried on PostgreSQL too; a chosen ridge and noise of the exact solver touch no other rows."""


@dataclass
class Past:
    """A world with a past: models, forgotten people, and what an attacker may have kept of them."""

    world: World
    models: dict[str, str]
    requests: list[str] = field(default_factory=list)
    old_rows: list[dict[str, Any]] = field(default_factory=list)
    old_objects: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    old_weights: dict[str, bytes] = field(default_factory=dict)

    def replay(self, name: str = "exact", **asked: Any) -> Report:
        return replay(self.world.deps, Asked(name, "default", 10, **asked), lambda *_: None)

    def failing(self, name: str = "exact", **asked: Any) -> dict[str, str]:
        """The checks that fail, each with what was found."""
        found: dict[str, str] = {}
        for check in self.replay(name, **asked).checks:
            if not check.passed:
                found[check.name] = f"{found.get(check.name, '')} {check.what}"
        return found

    def version(self, name: str) -> ModelVersion:
        return self.world.active(self.models[name])


def make_past(world: World, plans: dict[str, dict[str, Any]]) -> Past:
    world.upload(*(person(f"person-{i}") for i in range(6)))
    past = Past(world, {name: world.register(name, **plan) for name, plan in plans.items()})
    world.work()
    table = Record.__table__
    with world.ledger.database.read() as tx:
        past.old_rows = [dict(row) for row in tx.session.execute(select(table)).mappings()]
        live = select(StoredObject.name, StoredObject.kind).where(StoredObject.state == "live")
        for name, kind in tx.session.execute(live):
            past.old_objects[name] = (kind, world.ledger.objects.read(name))
    past.old_weights = {name: world.weights(model_id) for name, model_id in past.models.items()}
    past.requests = [world.forget(name) for name in ("person-1", "person-2")]
    world.work()
    sequence(world.ledger.database, world.ledger.ring)
    return past


def _row(tx: Transaction, name: str) -> StoredObject:
    return tx.session.get_one(StoredObject, name)


@contextmanager
def _object(past: Past, name: str, content: bytes, *, booked: bool) -> Iterator[None]:
    """Put other bytes into an object; if `booked`, the inventory's digest goes along."""
    objects, before = past.world.ledger.objects, past.world.ledger.objects.read(name)

    def put(now: bytes) -> None:
        objects.delete(name)
        objects.write(name, [now])
        if booked:
            with past.world.ledger.database.begin() as tx:
                _row(tx, name).sha256 = hashlib.sha256(now).hexdigest()

    put(content)
    try:
        yield
    finally:
        put(before)


@contextmanager
def _changed(past: Past, table: type, key: Any, **values: Any) -> Iterator[None]:
    """Change columns of a row by hand, past every check of the ledger."""
    with past.world.ledger.database.begin() as tx:
        row = tx.session.get_one(table, key)
        before = {name: getattr(row, name) for name in values}
        for name, value in values.items():
            setattr(row, name, value)
    try:
        yield
    finally:
        with past.world.ledger.database.begin() as tx:
            row = tx.session.get_one(table, key)
            for name, value in before.items():
                setattr(row, name, value)


@contextmanager
def _artifact(past: Past, name: str, kind: str, body: bytes, *, everywhere: bool) -> Iterator[None]:
    """Put other weights or statistics into a version; with `everywhere` the version's row commits to them too."""
    ledger, version = past.world.ledger, past.version(name)
    salt, context = bytes(32), getattr(artifacts, f"{kind}_context")(version.model_id)
    sealed = artifacts.seal_artifact(body, salt=salt, ring=ledger.ring, context=context, random=ledger.database.random)
    committed = artifacts.commitment(salt, body) if everywhere else getattr(version, f"{kind}_commitment")
    with (
        _object(past, getattr(version, f"{kind}_object"), sealed, booked=True),
        _changed(past, ModelVersion, version.id, **{f"{kind}_commitment": committed}),
    ):
        yield


def _features(past: Past) -> tuple[str, list[tuple[int, bytes]]]:
    """A feature shard of the model `exact` with two records of one class, and what it holds."""
    model_id, ledger = past.models["exact"], past.world.ledger
    with ledger.database.read() as tx:
        names = tx.session.execute(select(FeatureShard.object_name).where(FeatureShard.model_id == model_id)).scalars()
        classes = {row.id: row.class_index for row in tx.session.execute(select(Record.id, Record.class_index))}
    for name in names:
        content = InMemory(ledger.objects.read(name))
        pairs = list(ShardReader(content, name, ring=ledger.ring, context=feature_context(model_id)).read_all())
        labels = [classes[record_id] for record_id, _ in pairs]
        if len(set(labels)) < len(labels):
            same = max(set(labels), key=labels.count)
            pairs.sort(key=lambda pair: classes[pair[0]] != same)
            return name, pairs
    raise AssertionError("no shard has two records of one class")


@contextmanager
def swapped_rows(past: Past) -> Iterator[None]:
    """Two records of one class with each other's features: the sum stays as it was."""
    name, ((a, first), (b, second), *rest) = _features(past)
    ledger = past.world.ledger
    context = feature_context(past.models["exact"])
    content = encode_shard(
        [(a, second), (b, first), *rest], ring=ledger.ring, context=context, random=ledger.database.random
    )
    with _object(past, name, content, booked=True):
        yield


@contextmanager
def swapped_shards(past: Past) -> Iterator[None]:
    """Two feature shards of a model with each other's objects."""
    with past.world.ledger.database.read() as tx:
        query = select(FeatureShard).where(FeatureShard.model_id == past.models["exact"])
        one, other, *_ = tx.session.execute(query).scalars()
    with (
        _changed(past, FeatureShard, (one.model_id, one.record_shard_id), object_name=other.object_name),
        _changed(past, FeatureShard, (other.model_id, other.record_shard_id), object_name=one.object_name),
    ):
        yield


def other_statistics(everywhere: bool) -> Callable[[Past], Any]:
    def change(past: Past) -> Any:
        found = Statistics.from_bytes(past.world.statistics(past.models["exact"]))
        public = models.load_public(past.world.deps, past.models["exact"])
        _, pairs = _features(past)
        more = found.plus(public.unpack([pairs[0][1]]), public.plan)
        return _artifact(past, "exact", "statistics", more.to_bytes(), everywhere=everywhere)

    return change


def old_weights(name: str, everywhere: bool) -> Callable[[Past], Any]:
    return lambda past: _artifact(past, name, "weights", past.old_weights[name], everywhere=everywhere)


def weights_without_noise(past: Past) -> Any:
    model_id = past.models["krylov"]
    public = models.load_public(past.world.deps, model_id)
    found = Statistics.from_bytes(past.world.statistics(model_id))
    solved = past.world.deps.solve(found, public.plan, mu=0.05, residual_budget=1e-6).weights
    return _artifact(past, "krylov", "weights", weights_to_bytes(np.ascontiguousarray(solved)), everywhere=True)


def too_much_noise(past: Past) -> Any:
    stored = weights_from_bytes(past.world.weights(past.models["sgd"]))
    return _artifact(past, "sgd", "weights", weights_to_bytes(np.ascontiguousarray(stored * 64.0)), everywhere=True)


def edited_certificate(past: Past) -> Any:
    with past.world.ledger.database.read() as tx:
        envelope = tx.session.get_one(Certificate, past.requests[0]).envelope
    return _changed(past, Certificate, past.requests[0], envelope=envelope.replace(b'"sig":"', b'"sig":"A', 1))


def signed_anew(past: Past) -> Any:
    ledger = past.world.ledger
    with ledger.database.read() as tx:
        envelope = tx.session.get_one(Certificate, past.requests[0]).envelope
    said = json.loads(verify_envelope(envelope, ledger.ring.public_key_pem()))
    said["predicate"]["not_covered"] = said["predicate"]["not_covered"][1:]
    return _changed(past, Certificate, past.requests[0], envelope=certificates.sign(said, ledger.ring))


def row_brought_back(**changes: Any) -> Callable[[Past], Any]:
    @contextmanager
    def change(past: Past) -> Iterator[None]:
        with past.world.ledger.database.begin() as tx:
            there = set(tx.session.execute(select(Record.id)).scalars())
            shards = set(tx.session.execute(select(Record.shard_id)).scalars())
            gone = [r for r in past.old_rows if r["id"] not in there and r["shard_id"] in shards]
            row = {**gone[0], "subject_id": None, **{k: v(past) for k, v in changes.items()}}
            tx.session.execute(insert(Record), [row])
        try:
            yield
        finally:
            with past.world.ledger.database.begin() as tx:
                tx.session.execute(delete(Record).where(Record.id == row["id"]))

    return change


@contextmanager
def old_object(past: Past) -> Iterator[None]:
    """A deleted shard of records lies in the store again."""
    objects = past.world.ledger.objects
    name, content = next(
        (n, c) for n, (kind, c) in past.old_objects.items() if kind == "records" and not objects.exists(n)
    )
    objects.write(name, [content])
    try:
        yield
    finally:
        objects.delete(name)


@contextmanager
def certificate_row_gone(past: Past) -> Iterator[None]:
    table = Certificate.__table__
    with past.world.ledger.database.begin() as tx:
        here = table.c.request_id == past.requests[0]
        row = dict(tx.session.execute(select(table).where(here)).mappings().one())
        tx.session.execute(delete(table).where(here))
    try:
        yield
    finally:
        with past.world.ledger.database.begin() as tx:
            tx.session.execute(insert(table), [row])


@contextmanager
def old_lease(past: Past) -> Iterator[None]:
    """A server promises to answer from the first version for another hour."""
    with past.world.ledger.database.begin() as tx:
        lease = Lease(process_id="0" * 32, model_id=past.models["exact"], version_number=1, expires_at=tx.now + 10**10)
        tx.session.add(lease)
    try:
        yield
    finally:
        with past.world.ledger.database.begin() as tx:
            tx.session.execute(delete(Lease))


def other_checks(past: Past) -> Any:
    version = past.version("krylov")
    smaller = {**version.checks, "bound": {**version.checks["bound"], "output_bound": "0"}}
    return _changed(past, ModelVersion, version.id, checks=smaller)


def other_version_elsewhere(past: Past) -> Any:
    """The row of a version of another model, which the drawn certificates name too."""
    version = past.version("krylov")
    return _changed(past, ModelVersion, version.id, applied_seq=version.applied_seq + 1)


def other_ridge(past: Past) -> Any:
    version = past.version("chosen")
    return _changed(past, ModelVersion, version.id, measured={**(version.measured or {}), "mu": 0.5})


TAMPERINGS: dict[str, tuple[Callable[[Past], Any], str, dict[str, str]]] = {
    "features swapped between two records": (swapped_rows, "exact", {"features": "not those of its records"}),
    "features swapped between two shards": (swapped_shards, "exact", {"rows": "that the ledger does not know"}),
    "other statistics": (other_statistics(everywhere=False), "exact", {"statistics": "cannot be trusted"}),
    "other statistics, committed to": (
        other_statistics(everywhere=True),
        "exact",
        {"statistics": "not the sum over the retained", "versions": "statistics differ"},
    ),
    "weights of an old version": (old_weights("exact", everywhere=False), "exact", {"weights": "cannot be trusted"}),
    "weights of an old version, committed to": (
        old_weights("exact", everywhere=True),
        "exact",
        {"weights": "do not minimise", "versions": "weights differ"},
    ),
    "weights without their noise": (
        weights_without_noise,
        "krylov",
        {"weights": "do not lie on the grid", "versions": "weights differ"},
    ),
    "too much noise": (too_much_noise, "sgd", {"weights": "noise of the certified size", "versions": "weights differ"}),
    "a certificate edited": (edited_certificate, "exact", {"requests": "signature does not verify"}),
    "a certificate signed anew": (signed_anew, "exact", {"requests": "names another certificate"}),
    "a certificate deleted": (certificate_row_gone, "exact", {"requests": "its certificate is gone"}),
    "a forgotten record's row brought back": (
        row_brought_back(request_id=lambda past: past.requests[0], removed_seq=lambda _: 1),
        "exact",
        {"requests": "rows of records that it removed", "rows": "brought back, or lost"},
    ),
    "a forgotten record's row brought back as a retained one": (
        row_brought_back(),
        "exact",
        {"rows": "brought back, or lost"},
    ),
    "an old shard in the store": (old_object, "exact", {"objects": "no row knows it"}),
    "a server on an old version": (old_lease, "exact", {"requests": "may still answer"}),
    "a smaller bound": (other_checks, "krylov", {"stated": "bound is stated otherwise", "versions": "checks differ"}),
    "a version of another model": (other_version_elsewhere, "exact", {"requests": "was published: seq differ"}),
    "another ridge": (other_ridge, "chosen", {"ridge": "not the one that is chosen"}),
}
