"""Metrics for Prometheus: what the ledger says about one tenant, and how long this process took to predict for it.

Nothing in them names a person, a tenant or a model: labels are states and names of checks, which the program knows.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector

from ledger.figures import Durations, Figures

BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class PredictionTimes:
    """How long predictions of this process took, for each tenant. Any number of threads may use it."""

    def __init__(self, monotonic_ns: Callable[[], int] = time.monotonic_ns) -> None:
        """Start with none."""
        self._monotonic_ns = monotonic_ns
        self._lock = threading.Lock()
        self._counts: dict[str, list[int]] = {}
        self._seconds: dict[str, float] = {}

    @contextmanager
    def timing(self, tenant_id: str) -> Iterator[None]:
        """Count what the block takes, unless it fails."""
        started = self._monotonic_ns()
        yield
        seconds = (self._monotonic_ns() - started) / 1e9
        with self._lock:
            counts = self._counts.setdefault(tenant_id, [0] * (len(BUCKETS_S) + 1))
            counts[bisect_left(BUCKETS_S, seconds)] += 1
            self._seconds[tenant_id] = self._seconds.get(tenant_id, 0.0) + seconds

    def buckets(self, tenant_id: str) -> tuple[list[tuple[str, float]], float]:
        """Return Prometheus's cumulative buckets (upper bound, how many took no longer) and the sum in seconds."""
        with self._lock:
            counts = list(self._counts.get(tenant_id, [0] * (len(BUCKETS_S) + 1)))
            seconds = self._seconds.get(tenant_id, 0.0)
        bounds = [*(str(bound) for bound in BUCKETS_S), "+Inf"]
        return [(bound, float(sum(counts[: i + 1]))) for i, bound in enumerate(bounds)], seconds


class _OneTenant(Collector):
    """Figures that were read once, in Prometheus's form."""

    def __init__(self, figures: Figures, times: PredictionTimes, tenant_id: str) -> None:
        self._figures = figures
        self._times = times
        self._tenant_id = tenant_id

    def collect(self) -> Iterator[Metric]:
        """Give every metric."""
        figures = self._figures
        requests = GaugeMetricFamily("lacuna_requests", "Forget requests by state.", labels=["state"])
        for state, count in sorted(figures.requests.items()):
            requests.add_metric([state], count)
        jobs = GaugeMetricFamily("lacuna_jobs", "Jobs by state.", labels=["state"])
        for state, count in sorted(figures.jobs.items()):
            jobs.add_metric([state], count)
        failing = GaugeMetricFamily(
            "lacuna_checks_failing", "Jobs whose last attempt was stopped by this check.", labels=["check"]
        )
        for check, count in sorted(figures.failing.items()):
            failing.add_metric([check], count)
        yield from (requests, jobs, failing)
        yield GaugeMetricFamily(
            "lacuna_queue_age_seconds", "How long the oldest due job has waited. If it grows, no worker is at work.",
            value=figures.queue_age_s,
        )  # fmt: skip
        deadline = GaugeMetricFamily(
            "lacuna_deadline_seconds", "Time to the nearest deadline of an open request; absent while none is open."
        )
        if figures.deadline_s is not None:
            deadline.add_metric([], figures.deadline_s)
        yield deadline
        yield GaugeMetricFamily(
            "lacuna_requests_overdue", "Open requests whose deadline is over.", value=figures.overdue
        )
        yield _summary("lacuna_scrub_seconds", "From a request to models without the records.", figures.scrubbing)
        yield _summary("lacuna_completion_seconds", "From a request to its certificate.", figures.completing)
        yield CounterMetricFamily(
            "lacuna_versions_published", "Model versions; each has passed every check.", value=figures.versions
        )
        buckets, seconds = self._times.buckets(self._tenant_id)
        yield HistogramMetricFamily(
            "lacuna_prediction_seconds", "Time to answer a prediction, in this process.", buckets, seconds
        )


def _summary(name: str, text: str, durations: Durations) -> Metric:
    return SummaryMetricFamily(name, text, count_value=durations.count, sum_value=durations.seconds)


def render(figures: Figures, times: PredictionTimes, tenant_id: str) -> bytes:
    """Return the page that Prometheus reads, from a registry of its own."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_OneTenant(figures, times, tenant_id))
    return generate_latest(registry)
