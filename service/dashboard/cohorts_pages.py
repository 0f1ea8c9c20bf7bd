"""Pages about cohorts: what they hold, who uses it, what came in."""

from __future__ import annotations

from fastapi import Request
from fastapi.responses import HTMLResponse

from ledger import catalog, cohort_overview
from service.api.schemas import CohortId
from service.context import context_of
from service.dashboard.pages import Visitor, page_router, render

UPLOADS = 20

router = page_router()


@router.get("/cohorts")
def list_cohorts(request: Request, principal: Visitor) -> HTMLResponse:
    """All cohorts with the number of their records."""
    with context_of(request.scope).ledger.database.read() as tx:
        found = catalog.list_cohorts(tx, principal.tenant_id)
        return render(
            request,
            "cohorts.html",
            principal,
            now=tx.now,
            cohorts=[(cohort, catalog.count_records(tx, cohort.id)) for cohort in found],
        )


@router.get("/cohorts/{cohort_id}")
def one_cohort(cohort_id: CohortId, request: Request, principal: Visitor) -> HTMLResponse:
    """A cohort: its form and classes, its models, what is on hold, its newest uploads."""
    with context_of(request.scope).ledger.database.read() as tx:
        cohort = catalog.get_cohort(tx, principal.tenant_id, cohort_id)
        return render(
            request,
            "cohort.html",
            principal,
            now=tx.now,
            cohort=cohort,
            records=catalog.count_records(tx, cohort.id),
            by_class=cohort_overview.by_class(tx, cohort),
            on_hold=cohort_overview.on_hold(tx, cohort),
            uses=cohort_overview.uses(tx, cohort),
            uploads=cohort_overview.uploads(tx, cohort.id, limit=UPLOADS),
        )
