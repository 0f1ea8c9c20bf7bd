"""Installations of real processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from support import nursery
from support.deployment import Deployment


@pytest.fixture
def deploy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Deployment]]:
    """A function that makes an installation; its processes are killed after the test."""
    made: list[Deployment] = []

    def build(database_url: str | None = None, **settings: str) -> Deployment:
        made.append(Deployment(tmp_path_factory.mktemp("installation"), database_url, settings, start=nursery.start))
        return made[-1]

    yield build
    for deployment in made:
        deployment.stop()
