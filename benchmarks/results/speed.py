"""Deletions per second: by batch size, and how the time grows with the records n and the width k.

Timed is all that turns old statistics and the stored integers of the removed records into new weights that may be
published: subtraction, the transition check, Cholesky, refinement and the bound on the residual. Not timed: reading
and writing stores, encryption, the ledger, HTTP (see `benchmarks.solve` and `benchmarks.accept` for those).
The baseline of the same run sums up the retained integers anew and solves. Rows are synthetic full-range integers.
More records than are held are made of copies: the statistics of c copies are c times the statistics.
"""

import os
import statistics as medians
import time
from collections.abc import Callable

from benchmarks.results.record import Record
from benchmarks.solve import synthetic_rows, times
from unlearning.exact_solver import solve_exact
from unlearning.quantization import QuantizationPlan
from unlearning.residual import default_residual_budget
from unlearning.rows import QuantizedRows
from unlearning.statistics import Statistics
from unlearning.transition import check_transition

MU = 1e-2
PLAN = QuantizationPlan(10, 2**22, 16, 18, 12, 12, 5 * 2**12, 2**16)
COPIES = (1, 10, 100)


def measure(record: Record, *, records: int, width: int, batches: list[int], widths: list[int], repeats: int) -> None:
    """Fill the record: batches at `width`, copies at the middle batch, then widths at it; medians over repeats."""
    middle = batches[len(batches) // 2]
    stored = synthetic_rows(records, width, PLAN, seed=1)
    base = Statistics.zero(width, PLAN.columns).plus(stored, PLAN)
    for batch in batches:
        _one(record, "batch", stored, base, 1, batch, repeats)
    for copies in COPIES:
        _one(record, "records", stored, base, copies, middle, repeats)
    for other in widths:
        rows = synthetic_rows(records, other, PLAN, seed=1)
        _one(record, "width", rows, Statistics.zero(other, PLAN.columns).plus(rows, PLAN), 1, middle, repeats)


def _one(
    record: Record, grows: str, stored: QuantizedRows, base: Statistics, copies: int, batch: int, repeats: int
) -> None:
    before = times(base, copies)
    removed = stored.take(slice(0, batch))
    kept = stored.take(slice(batch, None))
    took: dict[str, list[float]] = {name: [] for name in ("subtract", "check", "solve", "rebuild and solve")}
    for repeat in range(repeats + 1):
        fresh = _forget_and_time(before, removed)
        if copies == 1:
            fresh["rebuild and solve"] = _seconds(lambda: _solve(Statistics.zero(*_shape(base)).plus(kept, PLAN)))
        if repeat:  # the first one warms the libraries up
            for name, seconds in fresh.items():
                took[name].append(seconds)
    middle = {name: medians.median(values) if values else None for name, values in took.items()}
    sums = [sum(each) for each in zip(took["subtract"], took["check"], took["solve"], strict=True)]
    whole = medians.median(sums)
    rebuilt = middle["rebuild and solve"]
    record.add(
        grows=grows,
        n=before.count,
        k=before.width,
        batch=batch,
        repeats=repeats,
        **{f"{name}_s": seconds for name, seconds in middle.items()},
        whole_s=whole,
        per_second=batch / whole,
        best_per_second=batch / min(sums),
        rebuild_ratio=None if rebuilt is None else rebuilt / whole,
    )


def _shape(statistics: Statistics) -> tuple[int, int]:
    return statistics.width, statistics.columns


def _forget_and_time(before: Statistics, removed: QuantizedRows) -> dict[str, float]:
    after: list[Statistics] = []
    nothing = QuantizedRows.empty(before.width, PLAN.classes)
    subtract = _seconds(lambda: after.append(before.minus(removed, PLAN)))
    passed: list[bool] = []
    check = _seconds(
        lambda: passed.append(check_transition(before, after[0], [removed], [nothing], PLAN, os.urandom).passed)
    )
    if passed != [True]:
        raise SystemExit("the transition check failed")
    return {"subtract": subtract, "check": check, "solve": _seconds(lambda: _solve(after[0]))}


def _solve(statistics: Statistics) -> None:
    solve_exact(statistics, PLAN, mu=MU, residual_budget=default_residual_budget(PLAN, statistics.width, MU))


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
