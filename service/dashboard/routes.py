"""All addresses of the dashboard; each group of pages has a file of its own."""

from __future__ import annotations

from fastapi import APIRouter

from service.dashboard import (
    assets,
    changes,
    cohorts_pages,
    keys_pages,
    log_pages,
    models_pages,
    overview,
    requests_pages,
    sign_in,
)

router = APIRouter()
router.include_router(sign_in.public)
for part in (
    assets,
    sign_in,
    changes,
    keys_pages,
    overview,
    requests_pages,
    models_pages,
    cohorts_pages,
    log_pages,
):
    router.include_router(part.router)
