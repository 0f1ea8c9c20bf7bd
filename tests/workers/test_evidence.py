"""Evidence does not leak what it proves: nothing that is kept tells a right guess of the forgotten record from a wrong.

The adversary has the retained records, every row of the database and its file, events, certificates, logs, the public
model and the code; not the key directory, and not the deleted objects. It guesses: for every candidate it computes what
a naive system would have published, and looks for that everywhere.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import inspect, select, text, update
from structlog.testing import capture_logs
from support.issued import receipt_of
from support.world import CLASSES, SHAPE, NewWorld, Person, World, make_deps, person

from evidence.commitment import leaf
from ledger import events, jobs, requests
from ledger.database import Transaction
from ledger.tables import ForgetRequest, Job, Model, ModelVersion, Record, Subject, SubjectAlias
from unlearning.exact_solver import solve_exact
from unlearning.public_model import PublicModel
from unlearning.rows import pack
from unlearning.statistics import Statistics
from unlearning.weights import weights_to_bytes
from workers import models
from workers.errors import CheckFailed

CANDIDATES = 2_000
RIGHT = 1_234
WINDOW = 16  # bytes; no digest is shorter
RETAINED = [person(f"person-{i}") for i in range(6)]


@dataclass(frozen=True)
class Guess:
    """What the adversary tries: a name, one record and its label."""

    name: str
    x: np.ndarray
    label: int


@pytest.fixture(scope="module")
def guesses() -> list[Guess]:
    rng = np.random.default_rng(11)
    x = rng.normal(size=(CANDIDATES, *SHAPE)).astype(np.float32)
    y = rng.integers(0, len(CLASSES), CANDIDATES)
    return [Guess(f"suspect-{i}", x[i], int(y[i])) for i in range(CANDIDATES)]


@pytest.fixture
def world(new_world: NewWorld, database_url: str) -> World:
    return new_world(database_url)


def train_and_forget(world: World, victim: Guess) -> tuple[str, list[Any]]:
    """Train with the victim, forget them; return the request's id and every line that was logged meanwhile."""
    world.upload(*RETAINED, Person(victim.name, victim.x[None], np.array([victim.label])))
    world.register()
    with capture_logs() as logs:
        world.work()
        request_id = world.forget(victim.name)
        world.work()
    assert world.request(request_id).outcome == "erased"
    return request_id, list(logs)


def kept(world: World, logs: Sequence[Any]) -> bytes:
    """Everything that the adversary can read, as one haystack: values as they are and as text, envelopes opened."""
    parts = [json.dumps(logs, default=str).encode()]
    with world.ledger.database.engine.connect() as connection:
        for table in inspect(connection).get_table_names():
            for row in connection.execute(text(f'SELECT * FROM "{table}"')):
                for value in row:
                    parts += _spelled(value)
    if world.ledger.database.is_sqlite:
        path = Path(world.ledger.database.engine.url.database or "")
        parts += [file.read_bytes() for file in path.parent.glob(f"{path.name}*")]
    return b"\n".join(parts)


def _spelled(value: Any) -> Iterator[bytes]:
    if isinstance(value, memoryview):
        value = bytes(value)
    if not isinstance(value, bytes):
        shown_as = value if isinstance(value, str) else json.dumps(value)
        yield shown_as.encode()
        yield shown_as.lower().encode()
        return
    yield value
    yield value.hex().encode()
    if value.startswith(b'{"') and b"payload" in value:
        yield base64.b64decode(json.loads(value)["payload"])


def naive(secret: bytes) -> Iterator[bytes]:
    """What a naive system would publish in order to prove something about `secret`."""
    yield hashlib.sha256(secret).digest()
    yield hashlib.sha256(b"\x00" + secret).digest()
    yield hashlib.sha1(secret, usedforsecurity=False).digest()
    yield hashlib.md5(secret, usedforsecurity=False).digest()
    yield hashlib.blake2b(secret, digest_size=32).digest()
    yield hmac.digest(b"", secret, "sha256")
    yield hmac.digest(bytes(32), secret, "sha256")


def shown(digest: bytes) -> Iterator[bytes]:
    """The ways in which a digest can be written down."""
    yield digest
    yield digest.hex().encode()
    yield base64.b64encode(digest).rstrip(b"=")
    yield base64.urlsafe_b64encode(digest).rstrip(b"=")


@dataclass
class Adversary:
    """Recomputes, from the retained records and the public model, the service that each guess would have made."""

    public: PublicModel
    retained: Statistics
    mu: float
    budget: float

    @classmethod
    def of(cls, world: World) -> Adversary:
        public = models.load_public(world.deps, world.model_id)
        nothing = Statistics.zero(public.width, public.classes)
        x, y = np.concatenate([p.x for p in RETAINED]), np.concatenate([p.y for p in RETAINED])
        retained = nothing.plus(public.extract(x, y), public.plan)
        assert retained.to_bytes() == world.statistics()  # so the adversary computes what the service computes
        with world.ledger.database.read() as tx:
            model = tx.session.get_one(Model, world.model_id)
        assert model.mu is not None
        assert model.residual_budget is not None
        return cls(public, retained, model.mu, model.residual_budget)

    def secrets(self, guesses: Sequence[Guess]) -> list[list[bytes]]:
        """For every guess, the bytes whose digest would give it away."""
        rows = self.public.extract(np.stack([g.x for g in guesses]), np.array([g.label for g in guesses]))
        packed = pack(rows)
        found = []
        for i, guess in enumerate(guesses):
            before = self.retained.plus(rows.take([i]), self.public.plan)
            weights = solve_exact(before, self.public.plan, mu=self.mu, residual_budget=self.budget).weights
            difference = Statistics.zero(self.public.width, self.public.classes).plus(rows.take([i]), self.public.plan)
            record = np.ascontiguousarray(guess.x, dtype="<f4").tobytes()
            name = guess.name.encode()
            hashed = [hashlib.new(form, name).hexdigest().encode() for form in ("md5", "sha1", "sha256")]
            found.append(
                [
                    before.to_bytes(),
                    weights_to_bytes(weights),
                    difference.to_bytes(),
                    packed[i],
                    record,
                    record + bytes([guess.label]),
                    name,
                    f"{guess.name}/0".encode(),
                    *hashed,
                ]
            )
        return found


def hits(haystack: bytes, secrets: Sequence[Sequence[bytes]]) -> dict[int, int]:
    """Count, for every guess, the secrets of which a digest (or, for short ones, the secret itself) is kept."""
    starts = {haystack[i : i + WINDOW] for i in range(len(haystack) - WINDOW + 1)}
    found: dict[int, int] = {}
    for guess, candidates in enumerate(secrets):
        for secret in candidates:
            needles = [spelling for digest in naive(secret) for spelling in shown(digest)]
            if WINDOW <= len(secret) <= 200:
                needles += [secret, secret.hex().encode()]
            if any(needle[:WINDOW] in starts and needle in haystack for needle in needles):
                found[guess] = found.get(guess, 0) + 1
    return found


@pytest.mark.slow
def test_two_thousand_guesses_and_not_one_hit(world: World, guesses: list[Guess]) -> None:
    request_id, logs = train_and_forget(world, guesses[RIGHT])
    adversary = Adversary.of(world)
    secrets = adversary.secrets(guesses)
    assert len({secret for of_guess in secrets for secret in of_guess[:5]}) > 4.9 * CANDIDATES
    haystack = kept(world, logs)
    assert b"/erasure-certificate/v2" in haystack  # so what the certificate states is searched too
    assert hits(haystack, secrets) == {}
    for token in (guesses[RIGHT].name.encode(), f"{guesses[RIGHT].name}/0".encode()):
        assert token not in haystack
    with_receipt_alone(world, request_id, haystack, [guess.name for guess in guesses])


def with_receipt_alone(world: World, request_id: str, haystack: bytes, names: Sequence[str]) -> None:
    """Look for whom the certificate names: with everything that is kept nobody is found, with the receipt one is."""
    receipt = receipt_of(world, request_id)
    assert receipt.commitment.hex().encode() in haystack
    assert receipt.salt not in haystack
    assert receipt.salt.hex().encode() not in haystack
    keys = [bytes(32), b"", receipt.commitment, request_id.encode(), bytes.fromhex(request_id)]
    keys += [
        bytes.fromhex(found.decode()) for found in set(re.findall(rb"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])", haystack))
    ]
    assert len(keys) > 20
    for name in names[RIGHT - 50 : RIGHT + 50]:
        assert all(leaf(key, receipt.what, name) != receipt.leaf for key in keys)
    assert [name for name in names if leaf(receipt.salt, receipt.what, name) == receipt.leaf] == [names[RIGHT]]


@pytest.mark.slow
def test_the_search_finds_what_a_naive_system_would_have_kept(new_world: NewWorld, guesses: list[Guess]) -> None:
    """The positive control: plain digests planted where evidence is kept give the right guess away, and no other."""
    few = guesses[RIGHT - 5 : RIGHT + 5]
    world = new_world()
    _, logs = train_and_forget(world, few[5])
    secrets = Adversary.of(world).secrets(few)
    assert hits(kept(world, logs), secrets) == {}
    for planted, secret in enumerate(secrets[5], start=1):
        for digest in (hashlib.sha256(secret).hexdigest(), hmac.digest(b"", secret, "sha256").hex()):
            with world.ledger.database.begin() as tx:
                plant(tx, world, digest, planted)
        found = hits(kept(world, logs), secrets)
        assert set(found) == {5}
        assert found[5] >= planted  # a digest of the name is itself a secret


def plant(tx: Transaction, world: World, digest: str, turn: int) -> None:
    """Keep a digest where evidence is kept, in another kind of column each time."""
    event = events.append(tx, world.tenant_id, "naive", "x", statistics=digest)
    if turn % 4 == 0:
        return
    event.body = b"{}"
    job = Job(tenant_id=world.tenant_id, kind="x", state="done", priority=0, lock_key="x", not_before=0, created_at=0)
    if turn % 4 == 1:
        job.note = digest
    elif turn % 4 == 2:
        job.result = {"statistics": [digest]}
    else:
        event.body = json.dumps({"payload": base64.b64encode(digest.encode()).decode()}).encode()
    tx.session.add(job)


def test_no_row_and_no_measured_value_outlives_the_version_that_knew_the_record(
    world: World, guesses: list[Guess]
) -> None:
    with_rebuild = guesses[RIGHT]
    world.upload(*RETAINED, Person(with_rebuild.name, with_rebuild.x[None], np.array([with_rebuild.label])))
    world.register()
    world.work()
    with world.ledger.database.begin() as tx:
        jobs.add(tx, world.tenant_id, jobs.REBUILD, lock_key="rebuild", model_id=world.model_id)
    world.work()
    assert (world.active().measured or {})["records"] == 19
    with world.ledger.database.read() as tx:
        subjects = set(tx.session.execute(select(Subject.id)).scalars())
        ids = set(tx.session.execute(select(Record.id)).scalars())
    request_id = world.forget(with_rebuild.name)
    world.work()
    with world.ledger.database.read() as tx:
        request = tx.session.get_one(ForgetRequest, request_id)
        assert (request.selector, request.error) == (None, None)
        gone = ids - set(tx.session.execute(select(Record.id)).scalars())
        assert len(gone) == 1
        (subject,) = subjects - set(tx.session.execute(select(Subject.id)).scalars())
        aliases = tx.session.execute(select(SubjectAlias).where(SubjectAlias.subject_id == subject)).all()
        assert aliases == []
        (destroyed,) = tx.session.execute(select(ModelVersion).where(ModelVersion.state == "destroyed")).scalars()
        assert (destroyed.measured, destroyed.weights_object, destroyed.statistics_object) == (None, None, None)
        assert destroyed.destroyed_at is not None
        results = tx.session.execute(select(Job.kind, Job.result, Job.error).where(Job.result.is_not(None))).all()
    # in_core says no more than the certificate does: that content of some records is public.
    allowed = {"advance": {"version"}, "rebuild": {"equal"}, "ingest_upload": {"in_core"}}
    assert {"advance", "rebuild"} <= {kind for kind, _, _ in results}
    for kind, result, error in results:
        assert set(result or {}) <= allowed[kind], kind
        assert error is None
    haystack = kept(world, [])
    for number in (str(i).encode() for i in (*gone, subject)):
        assert number not in haystack


def test_a_failed_checks_figures_die_with_the_version_that_they_were_measured_on(world: World) -> None:
    """A residual of the statistics with the record in them is a number that a guess can be held against."""
    world.upload(*RETAINED)
    world.register()
    world.work()

    def refuse(*_: object, **__: object) -> object:
        raise CheckFailed("residual", "the gradient is up to 3.1415926e-03")

    world.upload(person("late"))
    failing = make_deps(world.ledger, solve=refuse)
    while not world.jobs("failed"):
        with world.ledger.database.begin() as tx:
            tx.session.execute(update(Job).values(not_before=0))
        world.work(deps=failing)
    assert "3.1415926" in (world.jobs("failed")[0].error or "")
    world.forget("late")
    with world.ledger.database.begin() as tx:
        requests.resolve_accepted(tx, world.tenant_id)
    world.work()
    assert {r.state for r in _requests(world)} == {"completed"}
    with world.ledger.database.read() as tx:
        errors = list(tx.session.execute(select(Job.error)).scalars())
    assert [error for error in errors if error] == ["CheckFailed"]


def _requests(world: World) -> list[ForgetRequest]:
    with world.ledger.database.read() as tx:
        return list(requests.list_newest(tx, world.tenant_id))
