"""The application over a small Lacuna, on SQLite and, where storage matters, on PostgreSQL too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.site import Site, open_site
from support.world import NewWorld


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
