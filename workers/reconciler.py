"""`python -m workers.reconciler`: what has to happen even if nobody asks for it. Safe to run several at once.

It tells workers about jobs whose message was lost or whose worker is gone, and about batches whose time has come, takes
back what crashed processes left, gives events their places in the log, and sends webhooks. It imports no torch. Without
a Redis it tells nobody: workers that look for jobs by themselves need nobody to tell them.
"""

from __future__ import annotations

import argparse
import os
import secrets
import signal
import sys
import threading
import time

import structlog
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from ledger import batching
from ledger.broker import Broker
from ledger.dispatcher import Dispatcher
from ledger.errors import LedgerError
from ledger.ledger import Ledger, open_ledger
from ledger.log.sequencer import sequence
from ledger.migrate import require_current
from ledger.tenants import require_keys
from workers.logs import configure_logs
from workers.settings import WorkerSettings
from workers.sweeping import sweep
from workers.webhooks.courier import open_courier

log = structlog.get_logger(__name__)


class Reconciler:
    """Looks every `look_s` seconds until `stop`, which may be called from a signal handler."""

    def __init__(self, ledger: Ledger, settings: WorkerSettings) -> None:
        """Open nothing but the connection to Redis, when it is first needed."""
        self._ledger = ledger
        self._settings = settings
        self._over = threading.Event()
        self._courier = open_courier(ledger, settings.webhook_rules())
        url = settings.resolved_redis_url()
        self._dispatcher = None if url is None else self._dispatcher_to(url)

    def stop(self) -> None:
        """Leave `run` soon."""
        self._over.set()

    def run(self) -> None:
        """Reconcile until `stop`. A database or a Redis that is away for a while is waited for."""
        if self._dispatcher is not None:
            self._dispatcher.start()
        self._courier.start()
        said, swept = None, float("-inf")
        while not self._over.is_set():
            try:
                if batching.flush(self._ledger.database) and self._dispatcher is not None:
                    self._dispatcher.wake()
                if time.monotonic() - swept >= self._settings.sweep_s:
                    swept = time.monotonic()
                    sweep(self._ledger)
                sequence(self._ledger.database, self._ledger.ring)  # last: a damaged log holds nothing else up
                failed = None
            except (DBAPIError, PoolTimeout, LedgerError) as problem:
                failed = type(problem).__name__
            if failed not in (None, said):
                log.warning("reconciling failed; trying again", why=failed)
            said = failed
            if failed is None and self._settings.alive_file is not None:
                self._settings.alive_file.touch()
            self._over.wait(self._settings.look_ms / 1000)
        self._courier.stop()
        if self._dispatcher is not None:
            self._dispatcher.stop()

    def _dispatcher_to(self, url: str) -> Dispatcher:
        settings = self._settings
        return Dispatcher(
            self._ledger.database,
            Broker(url, job_limit_s=settings.job_limit_s, gpu_jobs=settings.gpu_jobs),
            monotonic=time.monotonic,
            look_every_s=settings.look_ms / 1000,
            again_after_s=settings.again_ms / 1000,
        )


def main() -> int:
    """Reconcile until SIGTERM or SIGINT."""
    argparse.ArgumentParser(prog="python -m workers.reconciler", description=__doc__.splitlines()[0]).parse_args()
    settings = WorkerSettings()
    configure_logs(settings.log_level)
    ledger = open_ledger(settings, clock=lambda: time.time_ns() // 1000, random=secrets.token_bytes)
    try:
        require_current(ledger.database.engine)
        with ledger.database.read() as tx:
            require_keys(tx, ledger.ring)
        reconciler = Reconciler(ledger, settings)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: reconciler.stop())
        log.info("reconciler started", pid=os.getpid(), messages=settings.resolved_redis_url() is not None)
        reconciler.run()
    finally:
        ledger.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
