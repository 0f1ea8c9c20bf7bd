"""Telling Celery's workers, from an API process, that there is work: in a thread, never inside a request."""

from __future__ import annotations

import time

from ledger.dispatcher import Dispatcher
from ledger.ledger import Ledger
from service.settings import ServiceSettings


def start_dispatcher(settings: ServiceSettings, ledger: Ledger) -> Dispatcher | None:
    """Start the thread, if there is a Redis. It connects when it is first woken, and waits for a Redis that is away."""
    url = settings.resolved_redis_url()
    if url is None:
        return None
    from ledger.broker import Broker  # here, because it imports Celery, which other installations do not need

    broker = Broker(url, job_limit_s=settings.job_limit_s, gpu_jobs=settings.gpu_jobs)
    dispatcher = Dispatcher(ledger.database, broker, monotonic=time.monotonic)
    dispatcher.start()
    return dispatcher
