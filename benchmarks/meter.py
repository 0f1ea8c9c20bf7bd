"""What does the leakage meter add to a prediction?

Run it from the repository's root: `python -m benchmarks.meter`. It makes a small model on SQLite and asks the meter as
an API process does: for a version that a key sees for the first time (one durable transaction), for one that it has
seen (a look into a dictionary, and a count), and for the judgement beside the queries. The baseline is an empty
coroutine.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from ledger import api_keys, leakage
from service.principal import Principal
from service.serving.clock import boottime_ns
from service.serving.meter import Meter
from service.serving.model import ServedModel
from service.serving.outputs import Answer


async def timed(name: str, rounds: int, call: Callable[[int], Awaitable[object]]) -> None:
    """Print the median and the 99th percentile of a call, in microseconds."""
    took = []
    for number in range(rounds):
        started = time.perf_counter()
        await call(number)
        took.append(1e6 * (time.perf_counter() - started))
    cuts = statistics.quantiles(took, n=100)
    print(f"| {name:<44} | {cuts[49]:>9.1f} | {cuts[98]:>9.1f} |", flush=True)


async def nothing(_: int) -> None:
    """Do nothing."""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20_000)
    rounds = parser.parse_args().rounds
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # the installation is the one of the tests
    from support.world import make_world, person

    with tempfile.TemporaryDirectory() as folder:
        world = make_world(Path(folder), f"sqlite:///{folder}/ledger.sqlite")
        world.upload(person("ada"), person("bob"))
        world.register()
        world.work()
        database = world.ledger.database
        principals = []
        for _ in range(200):
            with database.begin() as tx:
                key, _secret = api_keys.create(tx, world.tenant_id, "k", ("predict",))
                leakage.set_budget(tx, world.tenant_id, key.id, world.model_id, 1.0, "refuse")
            scopes = frozenset({"predict"})
            principals.append(Principal(world.tenant_id, key.id, "default", "k", scopes, client_id=key.id))
        meter = Meter(world.ledger, monotonic_ns=boottime_ns)
        seen: dict[str, object] = {"public": None, "weights": None}
        model = ServedModel(world.tenant_id, world.model_id, world.model_id, 1, "", **seen)  # type: ignore[arg-type]
        answer = Answer(world.model_id, 1, b"")

        async def known(_: int) -> None:
            await meter.admit(principals[0], model)
            meter.count(principals[0], answer)

        async def anew(number: int) -> None:
            meter.forget()
            await meter.admit(principals[number % 200], model)

        async def run() -> None:
            await timed("nothing", rounds, nothing)
            await timed("first sight of a version, with a budget", 200, lambda n: meter.admit(principals[n], model))
            await timed("a version that was seen: admit and count", rounds, known)
            await timed("judged anew (beside the queries)", 200, anew)

        print(f"| {'microseconds':<44} |    median |       p99 |")
        print(f"| {'-' * 44} | --------- | --------- |")
        asyncio.run(run())
        world.ledger.close()


if __name__ == "__main__":
    main()
