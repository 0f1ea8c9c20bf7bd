"""The web application over a small in-process Lacuna, asked through Starlette's test client."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from fastapi.testclient import TestClient
from sqlalchemy import func, select

from ledger import tenants
from ledger.tables import Base
from service.main import create_app
from service.settings import ServiceSettings
from support.world import World

NPZ = "application/octet-stream"


def npz(**arrays: Any) -> bytes:
    """Return a .npz archive of these arrays, without pickle."""
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **arrays)
    return file.getvalue()


@dataclass
class Site:
    """A running application, its world, and a client whose key may do everything."""

    world: World
    client: TestClient
    settings: ServiceSettings
    nudges: list[int]

    def key(self, *scopes: str, tenant_id: str | None = None) -> str:
        """Make an API key with these scopes."""
        with self.world.ledger.database.begin() as tx:
            return tenants.create_key(tx, tenant_id or self.world.tenant_id, "a key", scopes)

    def other_tenant(self) -> str:
        """Make a second tenant and return its id."""
        with self.world.ledger.database.begin() as tx:
            return tenants.create_tenant(tx, self.world.ledger.ring, "other").id

    def upload(self, body: bytes, cohort_id: str | None = None, **options: Any) -> Any:
        """Send an archive to the user cohort, or another."""
        headers = {"Content-Type": NPZ, **options.pop("headers", {})}
        path = f"/v1/cohorts/{cohort_id or self.world.user_id}/records"
        return self.client.post(path, content=body, headers=headers, **options)

    def stored(self) -> dict[str, Any]:
        """Return everything that is stored: how many rows each table has, and the names of all objects."""
        with self.world.ledger.database.read() as tx:
            rows = {
                name: tx.session.execute(select(func.count()).select_from(table)).scalar_one()
                for name, table in Base.metadata.tables.items()
            }
        return {**rows, "names": sorted(self.world.ledger.objects.names())}


@contextmanager
def open_site(world: World, data_dir: Path, **options: Any) -> Iterator[Site]:
    """Run the application over `world` until the end of the `with`. Bodies are received into `data_dir`."""
    settings = ServiceSettings(data_dir=data_dir, **options)
    nudges: list[int] = []
    app = create_app(settings, ledger=world.ledger, clock=world.deps.clock_us, on_accepted=lambda: nudges.append(1))
    with TestClient(app, raise_server_exceptions=False) as client:
        site = Site(world, client, settings, nudges)
        client.headers["Authorization"] = f"Bearer {site.key(*tenants.SCOPES)}"
        yield site
