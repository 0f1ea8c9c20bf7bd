"""The application behind a real uvicorn, on a loopback port, in a thread of this process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn

from ledger import tenants
from service.main import create_app
from service.settings import ServiceSettings
from support.waiting import wait_until
from support.world import World


@contextmanager
def serving(world: World, data_dir: Path, **options: Any) -> Iterator[tuple[str, str]]:
    """Serve `world`; gives the address and a key that may do everything. The world's worker is stepped by hand."""
    settings = ServiceSettings(data_dir=data_dir, **options)
    app = create_app(settings, ledger=world.ledger, clock=world.deps.clock_us, on_accepted=lambda: None)
    config = uvicorn.Config(app, port=0, log_config=None, access_log=False, timeout_graceful_shutdown=5, lifespan="on")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        wait_until(lambda: server.started or not thread.is_alive(), 30, "the service to answer")
        port = server.servers[0].sockets[0].getsockname()[1]
        with world.ledger.database.begin() as tx:
            key = tenants.create_key(tx, world.tenant_id, "a key", tenants.SCOPES)
        yield f"http://127.0.0.1:{port}", key
    finally:
        app.state.streams.close()
        server.should_exit = True
        thread.join()
