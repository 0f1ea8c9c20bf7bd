"""What the overview says: figures, the nearest deadline, who works, who answers, what is learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ledger import catalog, figures, jobs, processes, request_search
from ledger.database import Transaction
from ledger.request_search import Search
from ledger.tables import Job
from service.dashboard import series, views

REQUESTS, JOBS, CHARTS = 10, 8, 4


@dataclass(frozen=True, slots=True)
class Situation:
    """The state of one tenant's affairs at one moment.

    by_state: requests; queue: jobs. waiting_since: when the oldest due job became due, None when none waits.
    charts: the versions of the first few models that have any, by model.
    `running` is whether anything is going on that will change what is shown.
    """

    summary: views.Summary
    by_state: Mapping[str, int]
    nearest: views.RequestRow | None
    overdue: int
    requests: Sequence[views.RequestRow]
    cards: Sequence[views.ModelCard]
    charts: Mapping[str, Sequence[series.Point]]
    queue: Mapping[str, int]
    waiting_since: int | None
    jobs: Sequence[Job]
    workers: Sequence[processes.Worker]
    leases: Sequence[processes.ServingLease]
    running: bool


def situation(tx: Transaction, tenant_id: str) -> Situation:
    """Look at everything once."""
    models = catalog.list_models(tx, tenant_id)
    drawn = [model for model in models if model.active_version_id is not None][:CHARTS]
    counted = figures.backlog(tx, tenant_id)
    newest = request_search.find(tx, tenant_id, Search(), limit=REQUESTS)
    nearest = request_search.find(tx, tenant_id, Search(state="open", order="due"), limit=1)
    rows = [views.request_row(row, tx.now) for row in newest]
    first = views.request_row(nearest[0], tx.now) if nearest else None
    is_open = sum(counted.requests[state] for state in figures.OPEN)
    return Situation(
        summary=views.Summary(
            open=is_open,
            failed=counted.requests["failed"],
            urgency="over" if first is None else first.urgency,
            completed=counted.requests["completed"],
            median_us=views.median_took(rows),
        ),
        by_state=counted.requests,
        nearest=first,
        overdue=counted.overdue,
        requests=rows,
        cards=[views.model_card(tx, model) for model in models],
        charts={model.id: series.points(tx, tenant_id, model.id) for model in drawn},
        queue=counted.jobs,
        waiting_since=None if not counted.queue_age_s else tx.now - int(counted.queue_age_s * 1e6),
        jobs=jobs.list_newest(tx, tenant_id, limit=JOBS),
        workers=processes.workers(tx, tenant_id),
        leases=processes.serving(tx, tenant_id),
        running=is_open > counted.requests["failed"] or counted.jobs["ready"] + counted.jobs["running"] > 0,
    )
