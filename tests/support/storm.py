"""Breaking one thing after another in a running installation; what ends is started again, as a supervisor does."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable

from support.nursery import Process
from support.postgres import admin_connection
from support.production import Production, children_of


class Storm:
    """What can break: processes, Redis, connections, and PostgreSQL itself if it is one of our own."""

    def __init__(
        self,
        production: Production,
        chance: random.Random,
        roles: dict[str, Process],
        orphans: list[int],
        start: Callable[[str], None],
    ) -> None:
        """`roles` are the running processes by name, server-0 or worker-1; `start` starts one of them anew.

        Numbers of children that may outlive their parents are added to `orphans`.
        """
        self._production = production
        self._random = chance
        self._roles = roles
        self._orphans = orphans
        self._start = start

    def rage(self, storm_s: float, longest_pause_s: float, broken: Counter[str]) -> None:
        """Break things for `storm_s` seconds, each at most `longest_pause_s` after the one before, and count them."""
        ways = self._ways()
        until = time.monotonic() + storm_s
        order: list[int] = []
        while time.monotonic() < until:
            if not order:  # every way comes before any comes again
                order = self._random.sample(range(len(ways)), len(ways))
            what, way = ways[order.pop()]
            way()
            broken[what] += 1
            time.sleep(self._random.uniform(0.2, longest_pause_s))

    def _ways(self) -> list[tuple[str, Callable[[], None]]]:
        ways: list[tuple[str, Callable[[], None]]] = [
            ("worker killed", lambda: self._kill("worker")),
            ("working process killed", self._kill_child),
            ("working process stopped beyond its lease", self._stop_child),
            ("reconciler killed", lambda: self._kill("reconciler")),
            ("server killed", lambda: self._kill("server")),
            ("Redis emptied", self._production.flush_redis),
            ("Redis stopped", self._restart_redis),
            ("database connections cut", self._cut),
        ]
        server = self._production.postgres
        if server is not None:
            ways += [
                ("PostgreSQL killed", lambda: self._restart_postgres(server.kill)),
                ("PostgreSQL stopped at once", lambda: self._restart_postgres(server.stop_at_once)),
                ("PostgreSQL restarted", lambda: self._restart_postgres(server.stop_fast)),
                ("PostgreSQL frozen", lambda: server.freeze(self._random.uniform(1.0, 8.0))),
                ("a process of PostgreSQL killed", server.kill_backend),
            ]
        return ways

    def _kill(self, kind: str) -> None:
        role = self._random.choice([name for name in self._roles if name.startswith(kind)])
        process = self._roles[role]
        self._orphans += children_of(process)
        process.kill()
        process.wait()
        self._start(role)

    def _child(self) -> int | None:
        roles = [name for name in self._roles if name.startswith("worker")]
        children = children_of(self._roles[self._random.choice(roles)])
        return children[0] if children else None

    def _kill_child(self) -> None:
        if (child := self._child()) is not None:
            send_signal(child, signal.SIGKILL)

    def _stop_child(self) -> None:
        if (child := self._child()) is None:
            return
        send_signal(child, signal.SIGSTOP)
        lease_s = int(self._production.settings["LACUNA_JOB_LEASE_MS"]) / 1000
        waker = threading.Timer(1.2 * lease_s, send_signal, (child, signal.SIGCONT))
        waker.daemon = True
        waker.start()
        self._orphans.append(child)

    def _restart_redis(self) -> None:
        self._production.stop_redis()
        time.sleep(self._random.uniform(0.5, 2.0))
        self._production.start_redis()

    def _restart_postgres(self, end: Callable[[], None]) -> None:
        assert self._production.postgres is not None
        end()
        time.sleep(self._random.uniform(0.2, 2.0))
        self._production.postgres.start()

    def _cut(self) -> None:
        assert self._production.database_url is not None
        with admin_connection(self._production.database_url) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )


def send_signal(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process that may be gone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
