"""How long does the server take for a page of the dashboard, with so many forget requests?

Run it from the repository's root: `python -m benchmarks.dashboard --requests 1000 100000`; with `--database-url` on a
PostgreSQL whose database is empty, else on SQLite in a temporary folder. Pages are asked for one after the other, from
the application in this process, without a network: what is counted is the server's own time, queries and HTML together.
On a machine that does other things too, `cpu_ms` says more than the others.
"""

from __future__ import annotations

import argparse
import json
import logging
import secrets
import statistics
import tempfile
import time
from pathlib import Path

import structlog
from fastapi.testclient import TestClient
from sqlalchemy import insert

from ledger import events, tenants
from ledger.database import Transaction
from ledger.ledger import Ledger, open_ledger
from ledger.log.sequencer import sequence
from ledger.migrate import upgrade
from ledger.settings import LedgerSettings
from ledger.tables import ForgetRequest
from service.main import create_app
from service.settings import ServiceSettings

DAY_US = 86_400_000_000
AT_ONCE = 2_000
PAGES = (
    ("list of 1,000", "/dashboard/requests?limit=1000"),
    ("list of 50", "/dashboard/requests"),
    ("50 open by deadline", "/dashboard/requests?state=open&order=due"),
    ("50 overdue", "/dashboard/requests?overdue=yes"),
    ("50 by completion", "/dashboard/requests?order=completed"),
    ("overview", "/dashboard"),
    ("overview, asked again, unchanged", "/dashboard/live/overview"),
)


def clock_us() -> int:
    """Real UTC microseconds."""
    return time.time_ns() // 1000


def fill(tx: Transaction, tenant_id: str, first: int, count: int) -> None:
    """Add requests: nine of ten are completed, one of a hundred is overdue; every one with an event."""
    rows = []
    for number in range(first, first + count):
        done, received_at = number % 10 != 0, tx.now - number * 60_000_000
        rows.append(
            {
                "id": secrets.token_hex(16),
                "tenant_id": tenant_id,
                "state": "completed" if done else "accepted",
                "outcome": "erased" if done else None,
                "selector_kind": "subjects",
                "selector": None,
                "high_water": 0,
                "records": 3 if done else None,
                "waits_for": [],
                "regulation": "gdpr" if number % 3 else "ccpa",
                "received_at": received_at,
                "due_at": tx.now - DAY_US if number % 100 == 0 else received_at + 3650 * DAY_US,
                "completed_at": received_at + 5_000_000 if done else None,
            }
        )
        events.append(tx, tenant_id, "forget.accepted", rows[-1]["id"])
    tx.session.execute(insert(ForgetRequest), rows)


def measure(ledger: Ledger, folder: Path, key: str, repeats: int) -> dict[str, dict[str, float]]:
    """Return each page's median and largest time, and the median of what the processor worked, in milliseconds."""
    found = {}
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    app = create_app(ServiceSettings(data_dir=folder, log_level="ERROR"), ledger=ledger, on_accepted=lambda: None)
    with TestClient(app, headers={"Authorization": f"Bearer {key}"}) as client:
        for name, path in PAGES:
            headers = {"If-None-Match": client.get(path).headers.get("etag", "")} if "live" in path else {}
            took, worked = [], []
            for _ in range(repeats):
                start, begun = time.perf_counter(), time.process_time()
                answer = client.get(path, headers=headers)
                took.append((time.perf_counter() - start) * 1000)
                worked.append((time.process_time() - begun) * 1000)
                assert answer.status_code == (304 if headers else 200), answer.text
            found[name] = {
                "p50_ms": round(statistics.median(took), 1),
                "max_ms": round(max(took), 1),
                "cpu_ms": round(statistics.median(worked), 1),
            }
    return found


def main() -> None:
    """Print the times, a line of JSON for each size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, nargs="+", default=[1_000, 100_000])
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--database-url")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        url = options.database_url or f"sqlite:///{folder / 'ledger.db'}"
        ledger = open_ledger(
            LedgerSettings(data_dir=folder, database_url=url), clock=clock_us, random=secrets.token_bytes
        )
        upgrade(ledger.database.engine)
        with ledger.database.begin() as tx:
            tenant_id = tenants.create_tenant(tx, ledger.ring, "default").id
            key = tenants.create_key(tx, tenant_id, "benchmark", ["audit:read"])
        there = 0
        for wanted in sorted(options.requests):
            for first in range(there, wanted, AT_ONCE):
                with ledger.database.begin() as tx:
                    fill(tx, tenant_id, first, min(AT_ONCE, wanted - first))
            there = wanted
            sequence(ledger.database, ledger.ring)
            found = measure(ledger, folder, key, options.repeats)
            print(json.dumps({"requests": wanted, "database": url.partition(":")[0], "pages": found}), flush=True)
        ledger.close()


if __name__ == "__main__":
    main()
