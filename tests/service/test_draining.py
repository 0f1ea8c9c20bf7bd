"""A server that is told to stop says so first, and stops later; told twice, it stops at once."""

from __future__ import annotations

import threading

from support.site import Site

from service.draining import Draining


def test_it_stops_later_and_at_once_when_told_again() -> None:
    stopped = threading.Event()
    draining = Draining(60)
    draining.told(stopped.set)
    assert (draining.begun, stopped.is_set()) == (True, False)
    draining.told(stopped.set)
    assert stopped.is_set()


def test_it_stops_by_itself_when_the_time_is_over() -> None:
    stopped = threading.Event()
    Draining(0.01).told(stopped.set)
    assert stopped.wait(20)


def test_without_a_time_it_stops_at_once() -> None:
    stopped = threading.Event()
    draining = Draining(0)
    draining.told(stopped.set)
    assert (draining.begun, stopped.is_set()) == (True, True)


def test_readiness_is_gone_while_it_drains_and_health_is_not(site: Site) -> None:
    assert site.client.get("/readyz").status_code == 200
    draining = site.client.app.state.draining = Draining(60)  # type: ignore[attr-defined]  # the type is that of any ASGI app
    assert site.client.get("/readyz").status_code == 200
    draining.told(lambda: None)
    refused = site.client.get("/readyz")
    assert (refused.status_code, refused.json()["status"]) == (503, "degraded")
    assert site.client.get("/healthz").status_code == 200
