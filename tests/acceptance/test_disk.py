"""A disk that is full or read-only, under real processes: nothing half done, said clearly, and finished by itself."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support import nursery
from support.deployment import CORE_PEOPLE, PATIENCE_S, Deployment, upload_people
from support.disks import CannotMount, Mount, fill, free, mounts, remount
from support.waiting import wait_until
from support.world import NewWorld, World, person

from service.client_errors import ApiProblem

pytestmark = pytest.mark.acceptance
PEOPLE = [person(f"person-{i}") for i in range(8)]
CHALLENGE = bytes(range(32))
MEBIBYTE = 2**20


@pytest.fixture
def mount() -> Iterator[Mount]:
    """Mount small disks; skip, and say why, where that is not possible."""
    with mounts() as mount_one:

        def build(path: Path, size: int) -> Path:
            try:
                return mount_one(path, size)
            except CannotMount as problem:
                pytest.skip(str(problem))

        yield build


@pytest.fixture
def site(mount: Mount, deploy: Callable[..., Deployment]) -> Iterator[Site]:
    """A trained model on small disks, and no worker."""
    made = Site(deploy(), mount)
    yield made
    made.client.close()


class Site:
    """An installation whose database and whose objects lie on a small disk each."""

    def __init__(self, deployment: Deployment, mount: Mount) -> None:
        self.deployment = deployment
        self.database = mount(deployment.folder / "data", 32 * MEBIBYTE)
        self.objects = mount(self.database / "objects", 16 * MEBIBYTE)
        deployment.start_server()
        worker = deployment.start_worker()
        self.client = deployment.client()
        self.model = deployment.train(self.client, PEOPLE)
        stop(worker)

    def forget_on_a_failing_disk(self, name: str, at: str, disk: Path, how: str) -> tuple[str, nursery.Process]:
        """Ask for somebody to be forgotten by a worker whose disk fails at a point."""
        worker = self.deployment.start_worker_with_failing_disk(at, disk, how)
        return str(self.client.forget(subjects=[name])["id"]), worker

    def shown(self, request: str, kind: str, error: str) -> None:
        """Wait until job and request say what is wrong; check that nothing is certified."""

        def said() -> bool:
            errors = [str(job["error"]) for job in self.client.jobs() if job["kind"] == kind]
            shown = str(self.client.request(request)["error"])
            return error in shown and any(one.startswith(error) for one in errors)

        wait_until(said, PATIENCE_S, f"{kind} and request to say {error}")
        self.not_certified(request)

    def not_certified(self, request: str) -> None:
        assert self.client.request(request)["state"] != "completed"
        with pytest.raises(ApiProblem) as problem:
            self.client.certificate(request)
        assert problem.value.status == 404

    def completes(self, request: str, worker: nursery.Process) -> None:
        """Wait until the same worker has completed the request, and everything else."""
        done = self.client.wait_for_request(request, timeout_s=PATIENCE_S)
        assert (done["outcome"], done["error"]) == ("erased", None)
        assert worker.poll() is None
        self.client.certificate(request)
        wait_until(lambda: all(j["state"] == "done" for j in self.client.jobs()), PATIENCE_S, "every job to be done")
        stop(worker)


def stop(worker: nursery.Process) -> None:
    worker.terminate()
    worker.wait()


def refused(call: Callable[[], Any], status: int, kind: str) -> bool:
    """Whether a call is answered by this problem."""
    try:
        call()
    except ApiProblem as problem:
        return (problem.status, problem.type) == (status, f"/problems/{kind}")
    return False


def check_never_seen(site: Site, never_saw: World) -> None:
    active = site.client.model(site.model)["active_version"]
    digests = site.client.digests(site.model, active, CHALLENGE)
    for name, body in (("statistics", never_saw.statistics()), ("weights", never_saw.weights())):
        assert digests[name] == hmac.new(CHALLENGE, body, hashlib.sha256).hexdigest(), name
    assert site.client.predict(site.model, PEOPLE[0].x)["model_version"] == active


@pytest.fixture
def never_saw(new_world: NewWorld) -> Callable[..., World]:
    def build(*names: str) -> World:
        world = new_world(core_people=len(CORE_PEOPLE))
        world.upload(*(p for p in PEOPLE if p.name not in names))
        world.register()
        world.work()
        return world

    return build


def test_a_full_disk(site: Site, never_saw: Callable[..., World]) -> None:
    client, model = site.client, site.model
    cohort = client.model(model)["user_cohorts"][0]

    # No room for the statistics of the next version.
    request, worker = site.forget_on_a_failing_disk("person-1", "advance.solved", site.objects, "full")
    site.shown(request, "advance", "StoreFull")
    assert client.model(model)["active_version"] == 1
    assert client.predict(model, PEOPLE[0].x)["model_version"] == 1  # nothing half published, and still an answer
    assert refused(lambda: upload_people(client, cohort, [person("new")]), 507, "store-full")
    free(site.objects)
    site.completes(request, worker)

    # No room for the shards without the forgotten records.
    request, worker = site.forget_on_a_failing_disk("person-2", "purge.versions_destroyed", site.objects, "full")
    site.shown(request, "purge", "StoreFull")
    assert client.predict(model, PEOPLE[0].x)["model_version"] == client.model(model)["active_version"] == 3
    free(site.objects)
    site.completes(request, worker)

    # No room for the transaction that publishes, and the one that completes: the database itself cannot be written.
    for name, at, version in (("person-3", "advance.checked", 3), ("person-4", "purge.verified", 5)):
        request, worker = site.forget_on_a_failing_disk(name, at, site.database, "full")
        wait_until(lambda: refused(lambda: client.forget(subjects=["nobody"]), 507, "store-full"), PATIENCE_S, "507")
        assert client.model(model)["active_version"] == version, at
        assert refused(lambda: upload_people(client, cohort, [person("new")]), 507, "store-full")
        wait_until(
            lambda: refused(lambda: client.predict(model, PEOPLE[0].x, patience_s=0), 503, "not-serving"),
            PATIENCE_S,
            "the leases, which cannot be renewed, to run out",
        )
        site.not_certified(request)
        free(site.database)
        site.completes(request, worker)
    check_never_seen(site, never_saw("person-1", "person-2", "person-3", "person-4"))


def test_a_disk_that_is_read_only(site: Site, never_saw: Callable[..., World]) -> None:
    client, cohort = site.client, site.client.model(site.model)["user_cohorts"][0]
    for name, at, kind in (("person-1", "advance.solved", "advance"), ("person-2", "purge.unserved", "purge")):
        request, worker = site.forget_on_a_failing_disk(name, at, site.objects, "read-only")
        site.shown(request, kind, "StoreReadOnly")
        assert refused(lambda: upload_people(client, cohort, [person("new")]), 503, "unavailable")
        remount(site.objects, "rw")
        site.completes(request, worker)

    # A disk on which a database is open cannot be remounted; so it is found read-only at the next start.
    request = client.forget(subjects=["person-3"])["id"]
    client.close()
    site.deployment.stop()
    remount(site.database, "ro")
    assert "read-only" in site.deployment.refused_start().lower()
    remount(site.database, "rw")
    site.deployment.start_server()
    site.client = site.deployment.client()
    site.completes(request, site.deployment.start_worker())
    check_never_seen(site, never_saw("person-1", "person-2", "person-3"))


def test_the_disk_is_really_full(mount: Mount, tmp_path: Path) -> None:
    disk = mount(tmp_path / "disk", MEBIBYTE)
    fill(disk)
    with pytest.raises(OSError, match="No space"):
        (disk / "more").write_bytes(b"x")
    free(disk)
    (disk / "more").write_bytes(b"x")
