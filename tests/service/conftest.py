"""The application over a small Lacuna, on SQLite and, where storage matters, on PostgreSQL too; the command line."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import structlog
import torch
from support.command_line import Lacuna, Said
from support.site import Site, open_site
from support.world import NewWorld

from service import cli
from service.demo.running_service import RunningService, running_service

PROGRAMS = ("workers.__main__", "workers.celery_worker", "workers.reconciler")
"""What commands run as `__main__`: `runpy` warns if another test has imported it."""


@pytest.fixture
def site(new_world: NewWorld, tmp_path: Path) -> Iterator[Site]:
    """A running application on SQLite."""
    with open_site(new_world(), tmp_path) as running:
        yield running


@pytest.fixture(params=["sqlite", "postgres"])
def any_site(request: pytest.FixtureRequest, new_world: NewWorld, tmp_path: Path) -> Iterator[Site]:
    """A running application, once on SQLite and once on PostgreSQL."""
    url = None if request.param == "sqlite" else request.getfixturevalue("fresh_postgres_database")
    with open_site(new_world(url), tmp_path) as running:
        yield running


@pytest.fixture
def lacuna(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Lacuna]:
    """A function that runs the command line in this process, in an empty directory."""
    monkeypatch.chdir(tmp_path)
    before = dict(os.environ)  # commands set variables for their child processes
    logs = structlog.get_config()  # a worker sends them to a standard error that is ours only for this test
    threads = torch.get_num_threads()  # `lacuna server` sets them for its process, which here is ours
    for name in before:
        if name.startswith("LACUNA_"):
            del os.environ[name]
    for program in PROGRAMS:
        monkeypatch.delitem(sys.modules, program, raising=False)

    def run(*arguments: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["lacuna", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return Said(int(ended.value.code or 0), said.out, said.err)

    yield run
    torch.set_num_threads(threads)
    structlog.configure(**logs)
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the real server keeps everything."""
    return tmp_path_factory.mktemp("service")


@pytest.fixture(scope="module")
def service(folder: Path) -> Iterator[RunningService]:
    """A real server with a worker, and two people's records in a cohort."""
    with running_service(folder) as running:
        cohort = running.client.create_cohort(
            "people", kind="user", shape=[2], dtype="float32", class_names=["no", "yes"]
        )
        running.client.upload(
            cohort["id"],
            np.zeros((3, 2), np.float32),
            np.array([0, 1, 1]),
            subjects=np.array(["ada", "ada", "bob"]),
            ids=np.array(["r1", "r2", "r3"]),
        )
        yield running


@pytest.fixture
def asked(lacuna: Lacuna, service: RunningService, monkeypatch: pytest.MonkeyPatch) -> Lacuna:
    """The command line, told by the environment where the service is."""
    monkeypatch.setenv("LACUNA_URL", service.url)
    monkeypatch.setenv("LACUNA_API_KEY", service.key)
    return lacuna
