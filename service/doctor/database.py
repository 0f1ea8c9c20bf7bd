"""The database: reachable, migrated, guarded by its triggers, and with a clock like ours."""

from __future__ import annotations

from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from ledger import roles
from ledger.database import Clock, refusal
from ledger.errors import MigrationNeeded
from ledger.migrate import differences, require_current
from service.doctor.finding import Finding, ok, skipped, warning, wrong

GUARDED = ("events", "leaves")
"""Tables that cannot be what they promise without their triggers."""
TOLERANCE_US = 50_000
"""How far clocks may stand apart beyond what is allowed, before it is said: what asking itself may cost."""


def reachable(engine: Engine) -> Finding:
    """Whether the database answers."""
    try:
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))
    except DBAPIError as problem:
        return wrong(
            "database",
            f"it cannot be used: {refusal(problem) or type(problem.orig).__name__}",
            "Start it, or correct LACUNA_DATABASE_URL or its file, the password and the network.",
        )
    return ok("database", f"{engine.dialect.name} answers")


def migrated(engine: Engine) -> Finding:
    """Whether the tables are those of this program."""
    try:
        require_current(engine)
    except MigrationNeeded as problem:
        return wrong("migrations", str(problem), "Run `lacuna db upgrade` as the owner of the tables.")
    if found := differences(engine):
        return wrong(
            "migrations", f"the tables differ from the program's in {len(found)} places", "See `lacuna db check`."
        )
    return ok("migrations", "the tables are those of this program")


def guarded(engine: Engine) -> Finding:
    """Whether what happened can be changed."""
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            kept = roles.append_only(connection)
        else:
            names = set(connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).scalars())
            kept = {table for table in GUARDED if {f"{table}_no_update", f"{table}_no_delete"} <= names}
    if open_ones := sorted(set(GUARDED) - kept):
        return wrong(
            "append-only",
            f"nothing keeps {', '.join(open_ones)} from being changed: the triggers are gone",
            "Find out who dropped them and what was changed since; then restore them from migration 0001.",
        )
    return ok("append-only", "triggers guard what happened")


def clock_skew(engine: Engine, clock: Clock, *, allowed_ms: int) -> Finding:
    """How far this machine's clock stands from the database server's."""
    if engine.dialect.name != "postgresql":
        return skipped("clock", "the database has no clock of its own")
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))  # so that opening the connection is not measured
        before = clock()
        there = int(connection.execute(text("SELECT extract(epoch FROM clock_timestamp()) * 1000000")).scalar_one())
        after = clock()
    skew_us, doubt_us = there - (before + after) // 2, (after - before) // 2
    said = f"the database's clock stands {skew_us / 1000:+.0f} ms from this machine's"
    if abs(skew_us) > allowed_ms * 1000 + doubt_us + TOLERANCE_US:
        return wrong(
            "clock",
            f"{said}; LACUNA_CLOCK_SKEW_MS allows {allowed_ms}",
            "Let both follow NTP, or raise LACUNA_CLOCK_SKEW_MS on every process: leases rest on it.",
        )
    if doubt_us > TOLERANCE_US:
        return warning("clock", f"{said}, give or take {doubt_us / 1000:.0f} ms", "Ask again when the network is calm.")
    return ok("clock", said)
