"""`python -m workers`: do jobs until told to stop.

As the embedded server's child, standard input is a pipe: every line is a nudge to look for jobs at once, and its end
means that the server is gone and this process must go too.
"""

from __future__ import annotations

import os

# Before torch is imported: threads that wait by spinning take the cores from whoever shares the machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse
import secrets
import signal
import sys
import threading
import time

import structlog
import torch

from ledger.ledger import open_ledger
from ledger.migrate import require_current
from ledger.tenants import require_keys
from unlearning.architectures import read_allow_list
from unlearning.errors import DeviceRefused
from workers.deps import Deps
from workers.logs import configure_logs
from workers.loop import Loop
from workers.self_test import check_device
from workers.settings import WorkerSettings
from workers.webhooks.courier import open_courier


def clock_us() -> int:
    """UTC microseconds."""
    return time.time_ns() // 1000


def build_deps(settings: WorkerSettings) -> Deps:
    """Open everything that jobs need, as the settings say. Raises LedgerError, DBAPIError."""
    torch.set_num_threads(settings.threads)
    architectures = read_allow_list(settings.architectures)
    ledger = open_ledger(settings, clock=clock_us, random=secrets.token_bytes)
    require_current(ledger.database.engine)
    with ledger.database.read() as tx:
        require_keys(tx, ledger.ring)
    return Deps(
        ledger=ledger,
        worker=f"{os.getpid()}-{secrets.token_hex(4)}",
        clock_us=clock_us,
        wait_s=time.sleep,
        lease_us=settings.job_lease_ms * 1000,
        slice_us=settings.slice_ms * 1000,
        clock_skew_us=settings.clock_skew_ms * 1000,
        backup_days=settings.backup_days,
        architectures=architectures,
    )


def main(deps: Deps | None = None, settings: WorkerSettings | None = None) -> None:
    """Run until the parent is gone (with --child) or a signal comes; a job in hand is finished first."""
    parser = argparse.ArgumentParser(prog="python -m workers", description=__doc__.splitlines()[0])
    parser.add_argument("--child", action="store_true", help="stop when standard input ends; its lines are nudges")
    arguments = parser.parse_args()
    settings = settings or WorkerSettings()
    configure_logs(settings.log_level)
    try:
        check_device("cpu", torch.Generator().manual_seed(secrets.randbits(63)))
    except DeviceRefused as problem:
        structlog.get_logger(__name__).error("this worker cannot work", why=str(problem))
        sys.exit(1)
    deps = deps or build_deps(settings)
    loop = Loop(deps, poll_s=settings.poll_ms / 1000)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: loop.stop())
    if arguments.child:
        threading.Thread(target=follow_parent, args=(loop,), name="parent", daemon=True).start()
    structlog.get_logger(__name__).info("worker started", pid=os.getpid())
    courier = open_courier(deps.ledger, settings.webhook_rules())
    courier.start()
    loop.run()
    courier.stop()


def follow_parent(loop: Loop) -> None:
    """Turn lines on standard input into nudges, and its end into a stop."""
    for _ in sys.stdin.buffer:
        loop.nudge()
    loop.stop()


if __name__ == "__main__":
    main()
