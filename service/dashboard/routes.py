"""All addresses of the dashboard; each group of pages has a file of its own."""

from __future__ import annotations

from fastapi import APIRouter

from service.dashboard import assets, models_pages, overview, requests_pages, sign_in

router = APIRouter()
router.include_router(sign_in.public)
for part in (
    assets,
    sign_in,
    overview,
    requests_pages,
    models_pages,
):
    router.include_router(part.router)
