"""Whether work gets done: workers, and Redis if it carries the messages."""

from __future__ import annotations

import redis
from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from ledger.database import Clock
from ledger.settings import LedgerSettings
from ledger.tables import Job
from service.doctor.finding import Finding, ok, skipped, warning, wrong

LONGEST_WAIT_US = 60_000_000
TIMEOUT_S = 3.0
OLDEST_REDIS = 7


def workers(engine: Engine, clock: Clock) -> Finding:
    """Whether somebody does jobs: a job in hand, or none that has waited for long."""
    now = clock()
    with Session(engine) as session:
        running = select(func.count()).select_from(Job).where(Job.state == "running", Job.lease_until >= now)
        in_hand = session.execute(running).scalar_one()
        oldest = session.execute(
            select(func.min(Job.not_before)).where(Job.state == "ready", Job.not_before <= now)
        ).scalar_one()
        dead = select(func.count()).select_from(Job).where(Job.state == "running", Job.lease_until < now)
        abandoned = session.execute(dead).scalar_one()
        given_up = session.execute(select(func.count()).select_from(Job).where(Job.state == "failed")).scalar_one()
        last = session.execute(select(func.max(Job.finished_at))).scalar_one()
    waited_us = 0 if oldest is None else now - oldest
    if not in_hand and (waited_us > LONGEST_WAIT_US or abandoned):
        what = f"a job has waited for {waited_us / 1e6:.0f} s" if waited_us else "a worker has died with a job in hand"
        return wrong("workers", f"{what}, and nobody works", "Start `lacuna worker`, and look at the workers' logs.")
    if given_up:
        return warning("workers", f"{given_up} jobs were given up", "See `lacuna jobs --failed`, then `lacuna retry`.")
    if in_hand:
        return ok("workers", f"{in_hand} jobs are in hand")
    seen = "no job was ever done" if last is None else f"the last job ended {(now - last) / 1e6:.0f} s ago"
    return ok("workers", f"nothing waits; {seen}")


def messages(settings: LedgerSettings) -> Finding:
    """Whether Redis answers, is new enough, and throws no message away when its memory is full."""
    url = settings.resolved_redis_url()
    if url is None:
        return skipped("redis", "it is not used: workers look for jobs by themselves")
    advice = "Start it, or correct LACUNA_REDIS_URL or its file. Until then requests wait and nobody works on them."
    try:
        with redis.Redis.from_url(url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S) as client:
            client.ping()
            about = client.info()
    except (redis.RedisError, ValueError) as problem:
        return wrong("redis", f"it cannot be reached ({type(problem).__name__})", advice)
    version = str(about.get("valkey_version") or about.get("redis_version"))
    if int(version.partition(".")[0]) < OLDEST_REDIS:
        return wrong("redis", f"it is version {version}", f"Use version {OLDEST_REDIS} or newer, or Valkey.")
    if (policy := about.get("maxmemory_policy", "noeviction")) != "noeviction":
        return warning("redis", f"when full it drops messages ({policy})", "Set maxmemory-policy to noeviction.")
    return ok("redis", f"version {version} answers")
