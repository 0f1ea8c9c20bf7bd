"""How long does a prediction take, and how many are answered in a second?

Run it from the repository's root: `python -m benchmarks.predict`. It starts the real server, trains a small perceptron
on tables and a small convolutional network on images, and asks them over kept connections from this process. Beside
them, in the same run: the bare torch call, a bare ASGI echo in uvicorn, and a plain FastAPI endpoint around the same
torch call. `--processes` measures 1, 2 and 4 API processes on a PostgreSQL of its own; clients take them in turn.

At a rate the loop is open: a request that starts late counts from when it was due. `cpu` is the processor time of the
servers' processes for one answer, in milliseconds: on a machine busy with other things it says more than a clock.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import torch

from benchmarks.plain_servers import SHAPES, network_of
from service.client import LacunaClient
from service.demo.running_service import running_service

CLASSES = [str(c) for c in range(10)]
WARM = 50


@dataclass(frozen=True)
class Target:
    """Something to ask: addresses that are taken in turn, a path, headers and the body for a batch size."""

    name: str
    urls: tuple[str, ...]
    path: str
    key: str
    body: Callable[[int], bytes]


class Connection:
    """One kept HTTP connection, as lean as it can be: what it costs is not what is measured."""

    def __init__(self, url: str, path: str, key: str) -> None:
        parts = urlsplit(url)
        self._socket = socket.create_connection((parts.hostname, parts.port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._head = (
            f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
            "Content-Type: application/json\r\nContent-Length: "
        ).encode()

    def ask(self, body: bytes) -> bytes:
        """Send one request and return the answer's body. Ends the benchmark when it is not 200."""
        self._socket.sendall(b"%s%d\r\n\r\n%s" % (self._head, len(body), body))
        received = b""
        while (end := received.find(b"\r\n\r\n")) < 0:
            received += self._read()
        head = received[:end].lower()
        begin = head.index(b"content-length:") + 15
        length = int(head[begin:].split(b"\r\n", 1)[0])
        while len(received) < end + 4 + length:
            received += self._read()
        if not received.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"refused: {received.decode(errors='replace')}")
        return received[end + 4 :]

    def _read(self) -> bytes:
        part = self._socket.recv(1 << 18)
        if not part:
            raise SystemExit("the server has closed the connection")
        return part

    def close(self) -> None:
        """Close it."""
        self._socket.close()


@dataclass(frozen=True)
class Run:
    """Milliseconds of every answer, answers in a second, and the servers' processor time for each, in milliseconds."""

    took: Sequence[float]
    rate: float
    cpu_ms: float


def servers_cpu_s() -> float:
    """Return the processor time of all processes that this one has started."""
    me, ticks = os.getpid(), 0
    for children in Path(f"/proc/{me}/task").glob("*/children"):
        for pid in children.read_text().split():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def fire(target: Target, batch: int, clients: int, seconds: float, rate: float | None) -> Run:
    """Ask from so many clients, at full speed or at a rate over all of them."""
    body, took, lock = target.body(batch), list[float](), threading.Lock()
    start = time.perf_counter() + 0.2

    def client(number: int) -> None:
        connection = Connection(target.urls[number % len(target.urls)], target.path, target.key)
        mine, asked = [], 0
        while True:
            now = time.perf_counter()
            due = now if rate is None else start + (asked * clients + number) / rate
            if asked and max(now, due) >= start + seconds:
                break
            if due > now:
                time.sleep(due - now)
            connection.ask(body)
            mine.append((time.perf_counter() - due) * 1000)
            asked += 1
        connection.close()
        with lock:
            took.extend(mine)

    for url in target.urls:
        warming = Connection(url, target.path, target.key)
        for _ in range(WARM if batch == 1 else 5):
            warming.ask(body)
        warming.close()
    threads = [threading.Thread(target=client, args=(n,)) for n in range(clients)]
    start = time.perf_counter() + 0.1
    time.sleep(0.1)
    used = servers_cpu_s()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lasted = time.perf_counter() - start
    return Run(took, len(took) / lasted, 1000 * (servers_cpu_s() - used) / len(took))


def row(name: str, batch: int, load: str, run: Run) -> str:
    """Return one line of the table."""
    took = run.took
    cuts = statistics.quantiles(took, n=100) if len(took) > 1 else [took[0]] * 99
    times = f"{cuts[49]:>8.2f} | {cuts[98]:>8.2f} | {run.cpu_ms:>8.2f}"
    return f"| {name:<34} | {batch:>5} | {load:<18} | {times} | {run.rate:>9,.0f} |"


def measure(target: Target, batches: Sequence[int], seconds: float, rates: Sequence[float]) -> None:
    """Print the lines of one target."""
    for batch in batches:
        for clients in (1, 8):
            run = fire(target, batch, clients, seconds, None)
            print(row(target.name, batch, f"{clients} at full speed", run), flush=True)
        for asked in rates if batch == 1 else ():
            print(row(target.name, batch, f"8 at {asked:g}/s", fire(target, batch, 8, seconds, asked)), flush=True)


def bare_torch(kind: str, batch: int, seconds: float) -> None:
    """Print what the network alone takes, without any server."""
    network, x = network_of(kind), torch.randn(batch, *SHAPES[kind])
    took, until, used = [], time.perf_counter() + seconds, time.process_time()
    with torch.inference_mode():
        while time.perf_counter() < until:
            started = time.perf_counter()
            network(x)
            took.append((time.perf_counter() - started) * 1000)
    run = Run(took, len(took) / seconds, 1000 * (time.process_time() - used) / len(took))
    print(row(f"{kind}: torch alone", batch, "no server", run), flush=True)


def instances(kind: str, field: str) -> Callable[[int], bytes]:
    """Return what makes the body of a batch."""
    x = np.random.default_rng(0).normal(size=(64, *SHAPES[kind])).astype(np.float32)
    return lambda batch: json.dumps({field: np.round(x[:batch], 3).tolist()}).encode()


@contextmanager
def plain_server(kind: str) -> Iterator[str]:
    """Run the echo, or FastAPI around a network, in a process of its own; give its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.plain_servers", kind, str(port)], env=environment)
    try:
        wait_for("127.0.0.1", port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def wait_for(host: str, port: int) -> None:
    """Wait until somebody listens."""
    for _ in range(600):
        try:
            socket.create_connection((host, port)).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise SystemExit("the server did not start")


def train(client: LacunaClient, kind: str, architecture: str) -> str:
    """Make a model of this kind, wait for its first version, and return its id."""
    rng = np.random.default_rng(1)
    shape = SHAPES[kind]
    cohorts = [
        client.create_cohort(f"{kind} {of}", kind=of, shape=list(shape), dtype="float32", class_names=CLASSES)["id"]
        for of in ("core", "user")
    ]
    for cohort in cohorts:
        client.upload(cohort, rng.normal(size=(200, *shape)).astype(np.float32), rng.integers(0, 10, 200))
    made = client.create_model(
        kind, core_cohort=cohorts[0], user_cohorts=[cohorts[1]], architecture=architecture, feature_map="head", epochs=1
    )
    model: str = made["model"]["id"]
    client.wait_for_version(model)
    client.predict(model, rng.normal(size=(1, *shape)).astype(np.float32))
    return model


def several_processes(folder: Path, seconds: float, most: int) -> None:
    """Print the throughput of 1, 2, ... API processes on one PostgreSQL."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # the installation is the one of the tests
    from support.deployment import Deployment
    from support.postgres import start_postgres, temporary_database

    server, address = start_postgres()
    try:
        with temporary_database(address) as url:
            deployment = Deployment(folder, url, settings={"LACUNA_LOG_LEVEL": "WARNING"})
            deployment.upgrade()
            deployment.start_server()
            deployment.start_worker()
            urls = [deployment.url]
            with deployment.client() as client:
                model = train(client, "table", "mlp")
            path, body = f"/v1/models/{model}/predict", instances("table", "instances")
            while len(urls) <= most:
                if len(urls) in (1, 2, 4):
                    name = f"table: Lacuna, {len(urls)} processes"
                    measure(Target(name, tuple(urls), path, deployment.key, body), (1,), seconds, ())
                deployment.start_server()
                urls.append(deployment.url)
            deployment.stop()
    finally:
        server.stop()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="of each line")
    parser.add_argument("--rates", type=float, nargs="*", default=[50.0, 200.0, 500.0])
    parser.add_argument("--kinds", nargs="*", default=["table", "image"])
    parser.add_argument("--processes", type=int, default=0, help="also measure up to so many API processes")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"| {'milliseconds':<34} | batch | {'clients':<18} |      p50 |      p99 |      cpu | answers/s |")
    print(f"| {'-' * 34} | ----- | {'-' * 18} | -------- | -------- | -------- | --------- |")
    with tempfile.TemporaryDirectory() as folder:
        for kind in options.kinds:
            for batch in (1, 64):
                bare_torch(kind, batch, options.seconds)
        body = instances("table", "instances")
        with plain_server("echo") as url:
            target = Target("bare network: ASGI echo", (url,), "/", "none", body)
            measure(target, (1, 64), options.seconds, options.rates)
        for kind in options.kinds:
            with plain_server(kind) as url:
                target = Target(f"{kind}: plain FastAPI", (url,), "/predict", "none", instances(kind, "instances"))
                measure(target, (1, 64), options.seconds, options.rates)
        os.environ["LACUNA_LOG_LEVEL"] = "INFO"
        with running_service(Path(folder) / "service") as service:
            for kind in options.kinds:
                model = train(service.client, kind, "mlp" if kind == "table" else "small-cnn")
                path = f"/v1/models/{model}/predict"
                target = Target(f"{kind}: Lacuna", (service.url,), path, service.key, instances(kind, "instances"))
                measure(target, (1, 64), options.seconds, options.rates)
        if options.processes:
            several_processes(Path(folder) / "several", options.seconds, options.processes)


if __name__ == "__main__":
    main()
