"""The web application: its parts, and what happens when it starts and stops."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from typing import Any

import structlog
from fastapi import FastAPI
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.concurrency import run_in_threadpool

from ledger import uploads
from ledger.database import Clock, Random
from ledger.errors import LedgerError
from ledger.ledger import Ledger, open_ledger
from ledger.migrate import require_current, upgrade
from service import errors, idempotency
from service.api import (
    batching,
    certificates,
    cohorts,
    core_imports,
    corrections,
    destructions,
    dry_runs,
    event_streams,
    extensions,
    forget_requests,
    generations,
    holds,
    jobs,
    keys,
    leakage,
    metrics,
    models,
    open_inference,
    operations,
    predictions,
    problems,
    receipts,
    records,
    retention,
    signing_keys,
    suppressions,
    transparency,
    versions,
    webhooks,
)
from service.api import (
    uploads as uploads_api,
)
from service.api.openapi import DESCRIPTION, describe
from service.auth import Authentication, Principal
from service.compression import Compression
from service.context import Context
from service.dashboard import routes as dashboard
from service.dashboard.problem_pages import ProblemPages
from service.dispatching import start_dispatcher
from service.first_start import utc_microseconds
from service.gathering import Gathering
from service.housekeeping import Housekeeping
from service.limiter import Limiter
from service.middleware import BodyLimit, RequestLog
from service.rate_limits import RateLimits
from service.remembered_keys import RememberedKeys
from service.serving.clock import boottime_ns
from service.serving.inference import Inference
from service.serving.meter import Meter
from service.serving.registry import Registry, Timing
from service.settings import ServiceSettings
from service.sign_ins import SignIns
from service.slow_clients import PatientBodies
from service.streams.hub import Hub
from unlearning.architectures import read_allow_list

log = structlog.get_logger(__name__)

ROUTERS = (
    predictions,  # looked at in this order, and nothing is asked more often
    open_inference,
    operations,
    keys,
    leakage,
    signing_keys,
    cohorts,
    retention,
    records,
    uploads_api,
    corrections,
    core_imports,
    models,
    batching,
    generations,
    destructions,
    versions,
    forget_requests,
    certificates,
    receipts,
    extensions,
    event_streams,
    dry_runs,
    suppressions,
    holds,
    webhooks,
    transparency,
    jobs,
    metrics,
    problems,
    dashboard,
)


READY_S = 5.0
"""How long a process that starts waits for the versions that it is to answer from; it answers other requests then."""


def do_nothing() -> None:
    """Nudge nobody: workers look for jobs by themselves."""


def create_app(
    settings: ServiceSettings,
    *,
    ledger: Ledger | None = None,
    clock: Clock = utc_microseconds,
    random: Random = os.urandom,
    monotonic_ns: Callable[[], int] = boottime_ns,
    on_accepted: Callable[[], None] | None = None,
) -> FastAPI:
    """Return the application. A `ledger` that is handed in is neither migrated nor closed.

    `clock` gives UTC microseconds, `monotonic_ns` nanoseconds for leases. `on_accepted` is called after each commit
    that left work to do; without it workers are told over Redis, if the settings name one.
    Raises ArchitectureRefused: the operator's list of networks cannot be read.
    """

    architectures = read_allow_list(settings.architectures)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        try:
            opened = ledger if ledger is not None else await run_in_threadpool(_open, settings, clock, random)
            abandoned = await run_in_threadpool(
                uploads.abandon_expired, opened, everything=opened.database.is_sqlite
            )  # on SQLite this process is the only receiver
        except (LedgerError, DBAPIError, PoolTimeout) as problem:
            app.state.start_refused = problem  # whoever runs the server says it; uvicorn knows only that there was one
            raise
        if abandoned:
            log.warning("uploads.abandoned", count=abandoned)
        registry = Registry(
            opened,
            Timing(settings.lease_ttl_ms, settings.lease_poll_ms),
            process_id=random(16).hex(),
            monotonic_ns=monotonic_ns,
            architectures=architectures,
            together=settings.predict_together,
        )
        inference = Inference(workers=settings.predict_threads)
        dispatcher = start_dispatcher(settings, opened) if on_accepted is None else None
        wake = on_accepted or (do_nothing if dispatcher is None else dispatcher.wake)
        sign_ins = SignIns()
        meter = Meter(opened, monotonic_ns=monotonic_ns)
        housekeeping = Housekeeping(opened.database, also=(sign_ins.tidy, meter.flush))
        limiter = Limiter(settings.requests_per_minute) if settings.requests_per_minute else None
        gathering: Gathering[Any, Any] = Gathering(settings.accept_together)
        app.state.context = Context(
            settings,
            opened,
            registry,
            inference,
            wake,
            housekeeping,
            limiter,
            gathering,
            RememberedKeys[Principal](monotonic_ns=boottime_ns),
            meter,
            architectures,
            sign_ins=sign_ins,
        )
        app.state.streams = streams = Hub(opened, per_key=settings.streams_per_key)
        streams.start()
        housekeeping.start()
        registry.start(asyncio.get_running_loop())
        await run_in_threadpool(registry.wait_until_ready, READY_S)
        try:
            yield
        finally:
            await run_in_threadpool(streams.stop)
            if dispatcher is not None:
                await run_in_threadpool(dispatcher.stop)
            await run_in_threadpool(housekeeping.stop)
            await run_in_threadpool(registry.stop)
            await run_in_threadpool(inference.close)
            if ledger is None:
                opened.close()

    app = FastAPI(
        title="Lacuna",
        summary="Makes classifiers forget people, exactly, and proves it.",
        description=DESCRIPTION,
        version="1",
        lifespan=lifespan,
        docs_url=None,  # it would load scripts from another machine
        redoc_url=None,
        redirect_slashes=False,
        # FastAPI's own telemetry would write out exceptions' messages, which may hold what was sent.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    for part in ROUTERS:
        app.include_router(part.router)
    errors.install(app)
    idempotency.install(app)
    # The last one is the outermost.
    for middleware in (PatientBodies, Compression, BodyLimit, RateLimits, Authentication, ProblemPages, RequestLog):
        app.add_middleware(middleware)
    describe(app)
    return app


def _open(settings: ServiceSettings, clock: Clock, random: Random) -> Ledger:
    """Open the ledger. An embedded database is brought up to date; others are only checked. Raises MigrationNeeded."""
    ledger = open_ledger(settings, clock=clock, random=random)
    with ExitStack() as on_failure:
        on_failure.callback(ledger.close)
        if ledger.database.is_sqlite:
            upgrade(ledger.database.engine)
        else:
            require_current(ledger.database.engine)
        on_failure.pop_all()
    return ledger
