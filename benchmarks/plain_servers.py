"""What predictions are measured beside: a bare ASGI echo, and plain FastAPI around the same network."""

from __future__ import annotations

import sys
from typing import Any

import torch
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from unlearning.architectures import BUILT_IN, CoreNetwork

SHAPES = {"table": (32,), "image": (3, 32, 32)}
NETWORKS = {"table": "mlp", "image": "small-cnn"}


def network_of(kind: str) -> CoreNetwork:
    """Return an untrained network like the one that Lacuna serves for this kind."""
    network = BUILT_IN.build(NETWORKS[kind], SHAPES[kind], 10, torch.Generator().manual_seed(1))
    return network.eval()


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answer every request with a few bytes: what uvicorn and the network cost."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    headers = [(b"content-type", b"application/json"), (b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"{}"})


class Instances(BaseModel):
    """Records as nested lists."""

    instances: list[Any]


def fastapi_around(kind: str) -> FastAPI:
    """Return the shortest service that predicts: no keys, no limits, no lease, no log."""
    app, network = FastAPI(), network_of(kind)

    @app.post("/predict")
    def predict(body: Instances) -> list[list[float]]:
        with torch.inference_mode():
            logits = network(torch.tensor(body.instances, dtype=torch.float32))
            found: list[list[float]] = torch.softmax(logits, dim=1).tolist()
            return found

    return app


def main() -> None:
    """Serve `echo`, `table` or `image` on a port."""
    kind, port = sys.argv[1], int(sys.argv[2])
    torch.set_num_threads(1)
    app = echo if kind == "echo" else fastapi_around(kind)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", access_log=False, lifespan="off")


if __name__ == "__main__":
    main()
