"""What a measurement of the service stands beside: a plain FastAPI endpoint that inserts one row, and the bare network.

`python -m benchmarks.plain_service insert DATABASE_URL` or `... network`; the address is printed once it answers.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import Any

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: application/json\r\n\r\n{}"


def insert(url: str) -> None:
    """Answer POST / by one inserted row, committed durably, with the settings that Lacuna gives its database."""
    import uvicorn
    from fastapi import FastAPI
    from sqlalchemy import text

    from ledger.database import open_engine

    engine = open_engine(url)
    with engine.connect().execution_options(lacuna_write=True) as connection, connection.begin():
        connection.execute(text("CREATE TABLE IF NOT EXISTS plain (body TEXT)"))
    app = FastAPI()

    @app.post("/")
    def add(body: dict[str, Any]) -> dict[str, str]:
        with engine.connect().execution_options(lacuna_write=True) as connection, connection.begin():
            connection.execute(text("INSERT INTO plain VALUES (:body)"), {"body": str(body)})
        return {}

    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    config = uvicorn.Config(app, log_config=None, access_log=False)
    uvicorn.Server(config).run(sockets=[listener])


class _Echo(asyncio.Protocol):
    """Answers whatever comes by the same few bytes."""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(ANSWER)


async def network() -> None:
    """Answer every request at once, without reading it."""
    server = await asyncio.get_running_loop().create_server(_Echo, "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    if sys.argv[1] == "insert":
        insert(sys.argv[2])
    else:
        asyncio.run(network())
