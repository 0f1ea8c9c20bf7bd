"""Celery's tasks. The message is a job's number; everything else stands in the ledger."""

from __future__ import annotations

from celery import Celery

from ledger.broker import RUN_JOB
from workers.hands import Hands


def add_tasks(app: Celery, hands: Hands) -> None:
    """Give the application its tasks."""

    @app.task(name=RUN_JOB)  # type: ignore[untyped-decorator]  # Celery is not typed
    def run_job(job_id: int) -> None:
        """Do the job, if it can be done now; then tell others about what came of it."""
        hands.run(job_id)
