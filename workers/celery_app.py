"""The Celery application of the workers (docs/decisions/0009-celery.md says why it is set like this)."""

from __future__ import annotations

from typing import Any

from celery import Celery, signals

from ledger.broker import connection_settings
from workers.hands import Hands
from workers.logs import configure_library_logs, configure_logs
from workers.settings import WorkerSettings
from workers.tasks import add_tasks

START_S = 120.0
"""How long a child may take to import torch and open the ledger."""


def create_app(settings: WorkerSettings, hands: Hands) -> Celery:
    """Return the application. Its parent process opens nothing; each child opens `hands` after it was forked."""
    url = settings.resolved_redis_url()
    assert url is not None, "Celery runs only where there is a Redis"
    app = Celery("lacuna", set_as_current=False, changes=worker_settings(url, settings))
    add_tasks(app, hands)

    def open_hands(**_: Any) -> None:
        configure_logs(settings.log_level)
        hands.begin()

    def keep_our_logs(**_: Any) -> None:
        """Keep Celery from setting up its own; pass on its warnings."""
        configure_library_logs("celery")
        configure_library_logs("kombu")

    signals.worker_process_init.connect(open_hands, weak=False)  # nobody else keeps these functions
    signals.setup_logging.connect(keep_our_logs, weak=False)
    return app


def worker_settings(url: str, settings: WorkerSettings) -> dict[str, Any]:
    """Return everything that is set: the connection, and how a worker treats messages and jobs."""
    return connection_settings(url, job_limit_s=settings.job_limit_s) | {
        # A message is acknowledged when its job has ended, and goes back if its process is lost meanwhile. It may come
        # twice, and late: the ledger's claim decides.
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "worker_prefetch_multiplier": 1,
        "worker_concurrency": 1,
        "task_time_limit": settings.job_limit_s,
        "worker_proc_alive_timeout": START_S,
        # Stopping: the job in hand gets time to end; then its lease runs out and another worker takes it over.
        "worker_soft_shutdown_timeout": settings.stop_s,
        "worker_enable_soft_shutdown_on_idle": False,
        # Redis may go and come back for as long as it likes. A job in hand goes on meanwhile: whether it counts is the
        # ledger's business, and to kill it would throw away its work and count as an attempt.
        "broker_connection_retry": True,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
        "worker_send_task_events": False,
        "worker_enable_remote_control": False,
    }
