"""What a Celery worker's child process does its jobs with. Opened after the fork, never in the parent.

This module imports no torch: a process that forks after torch has computed leaves children that hang.
"""

from __future__ import annotations

import os
import secrets
import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from ledger import jobs
from ledger.broker import Broker
from ledger.database import refusal
from ledger.dispatcher import Dispatcher
from ledger.errors import LedgerError, StoreFailed, StoreUnsuitable
from unlearning.errors import ArchitectureRefused, DeviceRefused
from workers.errors import DeviceMissing
from workers.settings import WorkerSettings

if TYPE_CHECKING:
    from workers.deps import Deps

log = structlog.get_logger(__name__)


def _build(settings: WorkerSettings) -> Deps:
    from workers.__main__ import build_deps  # here, because it imports torch

    return build_deps(settings)


class Hands:
    """Does jobs by their numbers. `build` makes the dependencies, after the fork."""

    def __init__(
        self, settings: WorkerSettings, build: Callable[[WorkerSettings], Deps] = _build, *, device: str = "cpu"
    ) -> None:
        """Open nothing yet. `device` is tested when it is opened: cpu or cuda."""
        self._settings = settings
        self._device = device
        self._build = build
        self._deps: Deps | None = None
        self._dispatcher: Dispatcher | None = None

    def begin(self) -> bool:
        """Open, unless it is open. False: not now, or never; then the worker is ended.

        What is only away for a while is waited for: the next job tries again.
        """
        if self._dispatcher is not None:
            return True
        useful = False
        try:
            self.open()
            useful = True
            return True
        except (DBAPIError, PoolTimeout) as problem:
            why = refusal(problem) if isinstance(problem, DBAPIError) else None
            log.warning("the database is away; trying again at the next job", why=why or type(problem).__name__)
            useful = True
        except (DeviceRefused, DeviceMissing, ArchitectureRefused, LedgerError) as problem:
            useful = isinstance(problem, StoreFailed) and not isinstance(problem, StoreUnsuitable)
            if useful:
                log.warning("the object store is away; trying again at the next job", why=str(problem))
            else:
                log.error("this worker cannot work", why=str(problem))
        finally:
            if not useful:  # Celery would go on, and lose every message
                os.kill(os.getppid(), signal.SIGQUIT)
        return False

    def open(self) -> None:
        """Test the device, open the ledger, and start telling other workers about jobs.

        Raises DeviceMissing, DeviceRefused, LedgerError, DBAPIError.
        """
        import torch

        from workers.deps import on_device
        from workers.self_test import check_device

        torch.set_num_threads(self._settings.threads)
        check_device(self._device, torch.Generator().manual_seed(secrets.randbits(63)))
        url = self._settings.resolved_redis_url()
        assert url is not None, "Celery runs only where there is a Redis"
        self._deps = on_device(self._build(self._settings), torch.device(self._device))
        broker = Broker(url, job_limit_s=self._settings.job_limit_s, gpu_jobs=self._settings.gpu_jobs)
        dispatcher = Dispatcher(self._deps.ledger.database, broker, monotonic=time.monotonic)
        dispatcher.start()
        self._dispatcher = dispatcher
        log.info("worker opened", pid=os.getpid(), worker=self._deps.worker, device=self._device)

    def close(self) -> None:
        """Stop telling others, and close the ledger."""
        if self._dispatcher is not None:
            self._dispatcher.stop()
        if self._deps is not None:
            self._deps.ledger.close()

    def run(self, job_id: int) -> None:
        """Claim the job and run it to its end. Nothing happens if it is done, held by another, or not ready."""
        from workers.runner import run_claimed

        if not self.begin():
            return
        assert self._deps is not None
        assert self._dispatcher is not None
        try:
            claim = jobs.claim(self._deps.ledger.database, self._deps.worker, lease_us=self._deps.lease_us, only=job_id)
        except (DBAPIError, PoolTimeout, LedgerError) as problem:
            log.warning("job not claimed; it will be sent again", job=job_id, why=type(problem).__name__)
            return
        if claim is not None:
            run_claimed(self._deps, claim)
            self._dispatcher.wake()
