"""How fast are events given their places in the log, and how fast is one proved in a log of a million?

Run it from the repository's root: `python -m benchmarks.log --events 1000000`. It uses SQLite on disk, with every
setting of the embedded server. The baseline beside a proof is computing the path from all leaves, without stored nodes.
"""

from __future__ import annotations

import argparse
import secrets
import statistics
import tempfile
import time
from pathlib import Path

from sqlalchemy import insert, select

from evidence.frontier import Frontier
from evidence.merkle import leaf_hash
from evidence.tlog_proof import check_tlog_proof
from ledger import events
from ledger.database import Database, open_engine
from ledger.keys import KeyRing
from ledger.log import proofs
from ledger.log.sequencer import note_key, sequence
from ledger.log.verify import verify_log
from ledger.migrate import upgrade
from ledger.tables import Event, Leaf, LogState, Tenant

PROOFS = 200
PIECE = 20_000


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=100_000)
    count = parser.parse_args().events
    with tempfile.TemporaryDirectory() as name:
        engine = open_engine(f"sqlite:///{Path(name) / 'ledger.db'}")
        upgrade(engine)
        database = Database(engine, lambda: time.time_ns() // 1000, secrets.token_bytes)
        ring = KeyRing.open(Path(name) / "keys", random=secrets.token_bytes)
        tenant = secrets.token_hex(16)
        add_tenant(database, tenant)
        started = time.perf_counter()
        for start in range(0, count, PIECE):
            add_events(database, tenant, start, min(start + PIECE, count))
        print(f"{count} events written in {time.perf_counter() - started:.1f} s (in bulk)", flush=True)
        started = time.perf_counter()
        done = sequence(database, ring)
        taken = time.perf_counter() - started
        print(f"sequenced: {done.added / taken:,.0f} events/s, in batches with a signed checkpoint each", flush=True)
        seconds = [prove(database, ring, tenant, count) for _ in range(PROOFS)]
        worst = sorted(seconds)[int(0.99 * PROOFS)]
        print(f"a proof: median {1e3 * statistics.median(seconds):.2f} ms, p99 {1e3 * worst:.2f} ms")
        started = time.perf_counter()
        whole_root(database)
        print(f"baseline, from all leaves: {1e3 * (time.perf_counter() - started):,.0f} ms")
        started = time.perf_counter()
        with database.read() as tx:
            found = verify_log(tx, ring.public_key_raw())
        assert not found.findings
        print(f"verifying everything: {time.perf_counter() - started:.1f} s for {found.size} entries")


def add_tenant(database: Database, tenant: str) -> None:
    """Add the tenant that the events are of."""
    columns = {c.name: b"" if "key" in c.name else 0 for c in Tenant.__table__.columns if not c.nullable}
    with database.begin() as tx:
        tx.session.execute(insert(Tenant), [columns | {"id": tenant, "name": "benchmark"}])


def add_events(database: Database, tenant: str, start: int, end: int) -> None:
    """Write events as `ledger.events.append` does, in bulk."""
    with database.begin() as tx:
        rows = []
        for i in range(start, end):
            subject = f"{i:032x}"
            fields = {"v": 1, "tenant": tenant, "kind": "benchmark", "subject": subject, "at": tx.now, "number": i}
            body = events.canonical_bytes(fields)
            rows.append(
                {
                    "tenant_id": tenant,
                    "kind": "benchmark",
                    "subject": subject,
                    "at": tx.now,
                    "body": body,
                    "leaf_hash": leaf_hash(body),
                }
            )
        tx.session.execute(insert(Event), rows)


def prove(database: Database, ring: KeyRing, tenant: str, count: int) -> float:
    """Return the seconds that the proof of a random event takes; it is checked afterwards."""
    subject = f"{secrets.randbelow(count):032x}"
    with database.read() as tx:
        started = time.perf_counter()
        proof = proofs.of_event(tx, tenant, "benchmark", subject).text()
        taken = time.perf_counter() - started
        body = tx.session.execute(select(Event.body).where(Event.subject == subject)).scalar_one()
        check_tlog_proof(proof, leaf_hash(body), note_key(tx.session.get_one(LogState, 1).origin, ring))
    return taken


def whole_root(database: Database) -> bytes:
    """Return the root, from every leaf."""
    tree = Frontier()
    with database.read() as tx:
        for leaf in tx.session.execute(select(Leaf.leaf_hash).order_by(Leaf.position)).scalars():
            tree.add(leaf)
    return tree.root()


if __name__ == "__main__":
    main()
