"""A small Lacuna in one process: ledger, tenant, cohorts, a model, and a worker that is stepped by hand."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import select, update

from ledger import (
    artifacts,
    catalog,
    filing,
    holds,
    receipts,
    releases,
    requests,
    suppressions,
    tenants,
    uploads,
    versions,
)
from ledger.ledger import Ledger, open_ledger
from ledger.selectors import Selector, SubjectName, forms_of
from ledger.settings import LedgerSettings
from ledger.tables import ForgetRequest, Job, ModelVersion, Suppression
from support.migrated import migrate
from workers.deps import Deps
from workers.runner import run_next

NewWorld = Callable[..., "World"]
SHAPE = [6]
CLASSES = ["no", "yes", "maybe"]


def clock_us() -> int:
    """Real UTC microseconds."""
    return time.time_ns() // 1000


@dataclass(frozen=True)
class Person:
    """A subject's records: x (n, 6) float32, y (n,), and the name that the subject goes by."""

    name: str
    x: np.ndarray
    y: np.ndarray


def person(name: str, records: int = 3) -> Person:
    """Return a person whose records depend on the name alone."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    rng = np.random.default_rng(seed)
    y = rng.integers(0, len(CLASSES), records)
    x = (rng.normal(size=(records, *SHAPE)) + y[:, None]).astype(np.float32)
    return Person(name, x, y)


@dataclass
class World:
    """Everything a test of the forget path needs. Build it with `make_world`."""

    ledger: Ledger
    deps: Deps
    tenant_id: str
    core_id: str
    user_id: str
    model_id: str = ""
    uploads: list[str] = field(default_factory=list)

    def upload(
        self,
        *people: Person,
        cohort_id: str | None = None,
        subjects: bool = True,
        suppressed: bool = True,
        corrects: bool = False,
    ) -> str:
        """Store these people's records as one upload; with `suppressed` false, lift every suppression first.

        If it `corrects`, each record replaces the stored one of the same person and place.
        """
        cohort = cohort_id or self.user_id
        if not suppressed:
            with self.ledger.database.begin() as tx:
                tx.session.execute(update(Suppression).values(withdrawn_at=tx.now))
        with self.ledger.database.read() as tx:
            hasher = tenants.alias_hasher(tx, self.ledger.ring, self.tenant_id)
        rows = [
            uploads.NewRecord(
                row=i,
                class_index=int(label),
                payload=np.ascontiguousarray(x, dtype="<f4").tobytes(),
                external_id=f"{p.name}/{i}",
                subject=p.name if subjects else None,
            )
            for p in people
            for i, (x, label) in enumerate(zip(p.x, p.y, strict=True))
        ]
        upload_id = uploads.begin(self.ledger, self.tenant_id, cohort, corrects=corrects)
        uploads.store_chunk(self.ledger, hasher, upload_id, rows, subject_type="controller_customer_id")
        uploads.finish(self.ledger, upload_id)
        self.uploads.append(upload_id)
        return upload_id

    def register(self, name: str = "model", **changes: Any) -> str:
        """Register a model over the user cohort and return its id."""
        plan = catalog.ModelPlan(
            name=name,
            core_cohort_id=self.core_id,
            user_cohort_ids=(self.user_id,),
            evaluation_cohort_id=None,
            architecture="mlp",
            feature_map="head",
            width=None,
            alpha=5.0,
            mu=1e-3,
            residual_budget=None,
            capacity=2**22,
            epochs=3,
            seed=7,
        )
        with self.ledger.database.begin() as tx:
            model, _ = catalog.register_model(tx, self.tenant_id, replace(plan, **changes))
            self.model_id = self.model_id or model.id
            return model.id

    def forget(self, *names: str, **selector: Any) -> str:
        """Accept a request for these subjects (or another selector) and return its id."""
        chosen = Selector(subjects=tuple(SubjectName("controller_customer_id", "raw", n) for n in names), **selector)
        with self.ledger.database.begin() as tx:
            hasher = tenants.alias_hasher(tx, self.ledger.ring, self.tenant_id)
            request = filing.accept(tx, self.tenant_id, chosen, hasher, regulation="gdpr")
            receipts.issue(tx, self.ledger.ring, request, chosen)
            return request.id

    def hold(self, name: str) -> str:
        """Place a legal hold on a subject and return its id."""
        with self.ledger.database.begin() as tx:
            hasher = tenants.alias_hasher(tx, self.ledger.ring, self.tenant_id)
            subject = SubjectName("controller_customer_id", "raw", name)
            return holds.place(tx, self.tenant_id, subject, "case 17", hasher, self.ledger.ring).id

    def release(self, hold_id: str) -> list[str]:
        """Release a hold and return the ids of the requests that were filed again."""
        with self.ledger.database.begin() as tx:
            return releases.release(tx, self.tenant_id, hold_id)

    def withdraw(self, *names: str) -> int:
        """Withdraw these subjects' suppressions and return of how many there was one."""
        with self.ledger.database.begin() as tx:
            hasher = tenants.alias_hasher(tx, self.ledger.ring, self.tenant_id)
            people = [forms_of(SubjectName("controller_customer_id", "raw", name), hasher) for name in names]
            return suppressions.withdraw(tx, self.tenant_id, people)

    def work(self, limit: int = 200, deps: Deps | None = None) -> int:
        """Run jobs until there is none to run; return how many ran."""
        for done in range(limit):
            if not run_next(deps or self.deps):
                return done
        raise AssertionError(f"still jobs after {limit}")

    def request(self, request_id: str) -> ForgetRequest:
        """Return a request's row."""
        with self.ledger.database.read() as tx:
            return requests.get(tx, self.tenant_id, request_id)

    def active(self, model_id: str | None = None) -> ModelVersion:
        """Return the active version."""
        with self.ledger.database.read() as tx:
            version = versions.active(tx, model_id or self.model_id)
        assert version is not None
        return version

    def statistics(self, model_id: str | None = None) -> bytes:
        """Return the active version's statistics."""
        version = self.active(model_id)
        context = artifacts.statistics_context(version.model_id)
        return artifacts.open_artifact(self.ledger, version.statistics_object or "", context)[1]

    def weights(self, model_id: str | None = None) -> bytes:
        """Return the active version's weights."""
        version = self.active(model_id)
        context = artifacts.weights_context(version.model_id)
        return artifacts.open_artifact(self.ledger, version.weights_object or "", context)[1]

    def jobs(self, state: str) -> list[Job]:
        """Return the jobs in a state."""
        with self.ledger.database.read() as tx:
            return list(tx.session.execute(select(Job).where(Job.state == state)).scalars())


def same_bytes(one: World, two: World) -> bool:
    """Whether two services with one model each have learned the same, byte for byte."""
    return (one.statistics(), one.weights()) == (two.statistics(), two.weights())


def make_deps(ledger: Ledger, **changes: Any) -> Deps:
    """Return dependencies of a worker on this ledger, with real clocks and short waits."""
    deps = Deps(
        ledger=ledger,
        worker="test",
        clock_us=clock_us,
        wait_s=time.sleep,
        lease_us=60_000_000,  # never over by itself, however slow the machine; tests end those of the dead
        slice_us=1_000_000,
        clock_skew_us=0,
        backup_days=30,
    )
    return replace(deps, **changes)


def make_world(folder: Path, database_url: str, *, shard_records: int = 4, core_people: int = 12) -> World:
    """Return a migrated ledger with a tenant, a core cohort with records, an empty user cohort, and no model."""
    settings = LedgerSettings(data_dir=folder / "data", database_url=database_url, shard_records=shard_records)
    ledger = open_ledger(settings, clock=clock_us, random=secrets.token_bytes)
    migrate(ledger.database.engine)
    with ledger.database.begin() as tx:
        tenant = tenants.create_tenant(tx, ledger.ring, "default")
        made = [
            catalog.create_cohort(
                tx, tenant.id, name=kind, kind=kind, shape=SHAPE, dtype="float32", class_names=CLASSES
            ).id
            for kind in ("core", "user")
        ]
    world = World(ledger, make_deps(ledger), tenant.id, *made)
    world.upload(*(person(f"public-{i}", 5) for i in range(core_people)), cohort_id=world.core_id, subjects=False)
    return world
