"""How fast are forget requests accepted, and how soon are they done?

Run it from the repository's root: `python -m benchmarks.load`. Rows of the table: the bare network, a plain FastAPI
endpoint that inserts one row, Lacuna accepting each request in a transaction of its own, and Lacuna as it is (requests
that wait at the same moment share one); on SQLite (embedded) and on PostgreSQL with Valkey and 1, 2 and 4 API
processes. PostgreSQL waits for the disk here, unlike in the tests. Rates are open loops: a request's time counts from
when it was due. All of it in one run on one machine, so the ratios between rows mean more than the milliseconds.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.open_loop import Report, at_rate, in_turn, request

HEAD = "| {:<44} | {:>9} | {:>8} | {:>8} | {:>8} | {:>7} |"


def forget(key: str, prefix: str) -> Callable[[int], bytes]:
    """Return what makes requests to forget people whom nobody knows."""
    return lambda number: request(
        "POST", "/v1/forget-requests", key=key, body={"subjects": [{"value": f"{prefix}-{number}"}]}
    )


def plain(number: int) -> bytes:
    """Return a request to the plain service."""
    return request("POST", "/", body={"value": f"person-{number}"})


@contextmanager
def plain_service(*arguments: str) -> Iterator[str]:
    """Run a plain service; its address."""
    command = [sys.executable, "-m", "benchmarks.plain_service", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


class Table:
    """Measures and prints, row by row."""

    def __init__(self, rates: list[float], seconds: float, clients: list[int]) -> None:
        """`rates` in requests a second, `seconds` each, `clients` of the closed loops."""
        self._rates, self._seconds, self._clients = rates, seconds, clients
        print(HEAD.format("accepting", "offered/s", "reached/s", "p50 ms", "p99 ms", "refused"))
        print(HEAD.format("-" * 44, *["-" * width for width in (9, 8, 8, 8, 7)]))

    def measure(self, name: str, urls: list[str], make: Callable[[str], Callable[[int], bytes]]) -> None:
        """Measure one installation at every rate and with every number of clients."""
        asyncio.run(in_turn(urls, make("warm"), clients=8, seconds=1))
        for rate in self._rates:
            told = asyncio.run(at_rate(urls, make(f"r{rate}"), rate=rate, seconds=self._seconds))
            self._row(name, f"{rate:g}", told)
        for clients in self._clients:
            told = asyncio.run(in_turn(urls, make(f"c{clients}"), clients=clients, seconds=self._seconds))
            self._row(name, f"{clients} in turn", told)

    def _row(self, name: str, offered: str, told: Report) -> None:
        figures = (f"{told.rate:.0f}", f"{told.cut(50):.1f}", f"{told.cut(99):.1f}", told.refused)
        print(HEAD.format(name, offered, *figures), flush=True)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rates", type=float, nargs="*", default=[50.0, 200.0, 500.0])
    parser.add_argument("--clients", type=int, nargs="*", default=[1, 8])
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--processes", type=int, nargs="*", default=[1, 2, 4])
    parser.add_argument("--batches", type=int, nargs="*", default=[1, 10, 100])
    options = parser.parse_args()
    tests = Path(__file__).parents[1] / "tests"
    sys.path.insert(1, str(tests))  # the installations are those of the tests; not before the root: tests/ledger
    from support.deployment import Deployment
    from support.postgres import start_postgres, temporary_database
    from support.production import Production
    from support.world import person

    def alone(together: bool) -> dict[str, str]:
        return {} if together else {"LACUNA_ACCEPT_TOGETHER": "1"}

    print(f"cores: {os.cpu_count()}; load before: {os.getloadavg()[0]:.1f}\n")
    table = Table(options.rates, options.seconds, options.clients)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        with plain_service("network") as url:
            table.measure("bare network", [url], lambda _: plain)
        with plain_service("insert", f"sqlite:///{folder / 'plain.sqlite'}") as url:
            table.measure("plain endpoint, SQLite", [url], lambda _: plain)
        for together in (False, True):
            embedded = Deployment(folder / f"embedded-{together}", settings=alone(together))
            try:
                embedded.start_server()
                name = "embedded, SQLite" + ("" if together else ", one by one")
                table.measure(name, [embedded.url], lambda prefix, key=embedded.key: forget(key, prefix))
            finally:
                embedded.stop()
        server, postgres = start_postgres(durable=True)
        stack.callback(server.stop)
        with temporary_database(postgres) as database, plain_service("insert", database) as url:
            table.measure("plain endpoint, PostgreSQL", [url], lambda _: plain)
        for processes, together in [(1, False), *((count, True) for count in options.processes)]:
            with temporary_database(postgres) as database:
                production = Production(folder / f"postgres-{processes}-{together}", database, alone(together))
                try:
                    production.upgrade()
                    urls = []
                    for _ in range(processes):
                        production.start_server()
                        urls.append(production.url)
                    name = f"PostgreSQL, {processes} API" + ("" if together else ", one by one")
                    table.measure(name, urls, lambda prefix, key=production.key: forget(key, prefix))
                finally:
                    production.stop()
        print("\n| forget requests at once | installation         | seconds until all are completed | per request |")
        print("| ----------------------- | -------------------- | ------------------------------- | ----------- |")
        with temporary_database(postgres) as database:
            installations: list[tuple[str, Deployment]] = [
                ("embedded, SQLite", Deployment(folder / "whole")),
                ("PostgreSQL, 1 worker", Production(folder / "whole-postgres", database)),
            ]
            for name, whole in installations:
                try:
                    if isinstance(whole, Production):
                        whole.upgrade()
                        whole.start_server()
                        whole.start_celery()
                        whole.start_reconciler()
                    else:
                        whole.start_server(with_worker=True)
                    with whole.client() as client:
                        whole.train(client, [person(f"person-{n}") for n in range(sum(options.batches))])
                        first = 0
                        for size in options.batches:
                            begun = time.perf_counter()
                            asked = [client.forget(subjects=[f"person-{first + n}"])["id"] for n in range(size)]
                            for one in asked:
                                client.wait_for_request(one, timeout_s=600)
                            took = time.perf_counter() - begun
                            first += size
                            print(f"| {size:>23} | {name:<20} | {took:>31.2f} | {took / size:>11.3f} |", flush=True)
                finally:
                    whole.stop()
    print(f"\nload after: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
