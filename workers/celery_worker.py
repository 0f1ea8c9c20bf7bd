"""`python -m workers.celery_worker --queue cpu`: do jobs that Redis names, until told to stop.

Two processes: the parent listens to Redis and imports no torch; its one child does the jobs. A child that dies is
replaced by the parent, without another worker having to start.
"""

from __future__ import annotations

import os

# Before torch is imported, in the child: threads that wait by spinning take the cores from whoever shares the machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse
import secrets
import sys

import structlog
from celery.worker import state

from ledger.broker import CPU, GPU
from workers.celery_app import create_app
from workers.hands import Hands
from workers.liveness import Liveness
from workers.logs import configure_logs
from workers.settings import WorkerSettings


def main(hands: Hands | None = None, settings: WorkerSettings | None = None) -> int:
    """Work until SIGTERM: the job in hand is finished first. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m workers.celery_worker", description=__doc__.splitlines()[0])
    parser.add_argument("--queue", action="append", choices=(CPU, GPU), help="may be repeated; cpu if not given")
    queues = parser.parse_args().queue or [CPU]
    settings = settings or WorkerSettings()
    configure_logs(settings.log_level)
    app = create_app(settings, hands or Hands(settings, device="cuda" if GPU in queues else "cpu"))
    app.steps["consumer"].add(Liveness.touching(settings.alive_file))
    structlog.get_logger(__name__).info("worker started", pid=os.getpid(), queues=queues)
    worker = app.Worker(
        hostname=f"{secrets.token_hex(4)}@lacuna",
        queues=queues,
        pool_cls="prefork",
        concurrency=1,
        loglevel=settings.log_level,
        without_gossip=True,
        without_mingle=True,
        quiet=True,
    )
    worker.start()
    return int(worker.exitcode or state.should_terminate or 0)


if __name__ == "__main__":
    sys.exit(main())
