"""Sites with a history: one for all tests of a file that only look, and one for a test that changes something."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.site import Site, open_site
from support.told import WHO, Told, erase, teach
from support.world import make_world


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    """A site on which somebody was forgotten. Tests that use it change nothing."""
    folder = tmp_path_factory.mktemp("told")
    world = make_world(folder, f"sqlite:///{folder / 'ledger.sqlite'}")
    teach(world)
    world.hold("quentin")
    with open_site(world, folder, lease_ttl_ms=500) as site:
        erased = erase(site, WHO)
        yield Told(site, erased, erase(site, "quentin"), erase(site, "cornelia"))
    world.ledger.close()


@pytest.fixture
def erased(site: Site) -> str:
    """The id of a request that was completed on a site of the test's own."""
    teach(site.world)
    return erase(site, WHO)
