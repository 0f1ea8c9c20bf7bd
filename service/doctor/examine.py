"""Looking at everything, in an order in which each look may rest on those before it."""

from __future__ import annotations

from pathlib import Path

import torch
from sqlalchemy import make_url

from ledger.database import Clock, Random, open_engine
from ledger.errors import SettingUnusable
from service.doctor import database, mathematics, stores, work
from service.doctor.finding import Finding, Level, skipped, wrong
from service.settings import ServiceSettings

NEED_DATABASE = ("append-only", "clock", "workers")


def examine(settings: ServiceSettings, *, clock: Clock, random: Random) -> list[Finding]:
    """Return a finding for every dependency. Changes nothing, but for an object that is written and deleted again."""
    try:
        url = settings.resolved_database_url()
        messages = work.messages(settings)
    except SettingUnusable as problem:
        return [wrong("settings", f"{problem.setting} cannot be used: {problem.why}", f"Correct {problem.setting}.")]
    if settings.is_embedded and not Path(make_url(url).database or "").is_file():  # connecting would make it
        missing = wrong(
            "database", "there is none in the data directory", "Correct LACUNA_DATA_DIR, or start a server."
        )
        return [missing, stores.disk(settings)]
    engine = open_engine(url)
    try:
        found = [database.reachable(engine)]
        if found[0].level is Level.OK:
            found.append(database.migrated(engine))
        usable = all(finding.level is Level.OK for finding in found)
        if usable:
            found.append(database.guarded(engine))
            found.append(database.clock_skew(engine, clock, allowed_ms=settings.clock_skew_ms))
            found.append(work.workers(engine, clock))
        else:
            found += [skipped(check, "the database cannot be asked") for check in NEED_DATABASE]
        seed = int.from_bytes(random(7))
        return [
            *found,
            messages,
            stores.keys(settings, engine if usable else None, random),
            stores.objects(settings, engine if usable else None, random),
            stores.disk(settings),
            mathematics.devices(torch.Generator().manual_seed(seed)),
            mathematics.architectures(settings, engine if usable else None),
        ]
    finally:
        engine.dispose()
