"""Tables of docs/results.md, in Markdown, from the files of numbers alone."""

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.results.intervals import for_a_new_run
from benchmarks.results.record import Record, Row, read_record

DATA = {"digits": "Digits", "fashion": "Fashion-MNIST", "cifar": "CIFAR-100 subset"}
METHODS = {
    "core only": "core only, nothing learned from users",
    "head": "head",
    "pooled": "pooled",
    "nystrom": "Nystrom",
    "nystrom, wide": "Nystrom, 2,048 landmarks",
    "tangent subspace": "tangent, subspace",
    "full tangent hidden": "tangent, in full (hidden and output layer)",
    "full tangent block": "tangent, in full (last convolution too)",
    "fine-tuned hidden": "fine-tuned: hidden and output layer",
    "fine-tuned block": "fine-tuned: last convolution too",
}
NOTHING = "–"


def records(folder: Path, *parts: str) -> dict[str, Record]:
    """Return what was measured of some parts, joined by data set, in the order of DATA."""
    found: dict[str, Record] = {}
    for part in parts:
        for path in sorted(folder.glob(f"{part}-*.json")):
            record = read_record(path)
            if record.data in found:
                found[record.data].rows.extend(record.rows)
            else:
                found[record.data] = record
    return {name: found[name] for name in (*DATA, "synthetic") if name in found}


def accuracy(folder: Path) -> str:
    """Part 1: test errors by method and data set."""
    small = records(folder, "accuracy", "tangents")
    columns = {f"{DATA[name]}, {users(record):,} users": record for name, record in small.items()}
    columns |= {f"{DATA[name]}, {users(record):,} users": record for name, record in records(folder, "large").items()}
    rows = []
    for method, shown in METHODS.items():
        cells = [interval(values(record.rows, "error", method=method)) for record in columns.values()]
        if any(cell != NOTHING for cell in cells):
            rows.append([shown, *cells])
    return table(["test error, %", *columns], rows)


def gaps(folder: Path) -> str:
    """Part 1: how much worse each map is than fine-tuning in the same run, in points, seed by seed."""
    everything = {**records(folder, "accuracy", "tangents")}
    columns = {DATA[name]: record for name, record in everything.items()}
    columns |= {f"{DATA[name]}, all": record for name, record in records(folder, "large").items()}
    rows = []
    for rival in ("fine-tuned hidden", "fine-tuned block"):
        for method in list(METHODS)[1:-2]:
            cells = [
                interval(paired(record.rows, "error", {"method": method}, {"method": rival}), sign="+")
                for record in columns.values()
            ]
            if any(cell != NOTHING for cell in cells):
                rows.append([METHODS[method], rival.removeprefix("fine-tuned "), *cells])
    return table(["map", "against fine-tuned", *columns], rows)


def forgetting(folder: Path, name: str, scenario: str) -> str:
    """Part 2: one data set and one scenario."""
    record = records(folder, "forgetting")[name]
    rows = [row for row in record.rows if row["scenario"] == scenario]
    lines = []
    for method in dict.fromkeys(str(row["method"]) for row in rows):
        own = [row for row in rows if row["method"] == method]
        single = own[0]["records"] == 1  # an error of 0 or 100 %
        lines.append(
            [
                method,
                interval(values(own, "retain_error")),
                NOTHING if single else interval(values(own, "forget_error")),
                interval(values(own, "test_error")),
                *(largest(own, column) for column in ("weight_distance", "prediction_distance", "nats")),
                middle(own, "seconds"),
                ratio(rows, "seconds", {"method": "train again"}, {"method": method}),
            ]
        )
    head = ["method", "retained, %", "forgotten, %", "test, %", "weights", "predictions", "nats", "s", "faster"]
    return table(head, lines)


def losses(folder: Path) -> str:
    """Part 2: test error after ten requests, less that of the exact solution in the same run, in points."""
    lines = []
    for name, record in records(folder, "forgetting").items():
        rows = [row for row in record.rows if row["scenario"] == "10 % in 10 requests"]
        for method in ("krylov", "sgd, 3 epochs", "train again", "SISA, 5 shards", "SISA, 20 shards"):
            difference = paired(rows, "test_error", {"method": method}, {"method": "exact"})
            lines.append([DATA[name], method, interval(difference, sign="+")])
    return table(["data", "method", "points worse than exact"], lines)


def core_share(folder: Path) -> str:
    """Figure 6.5 in numbers, at sigma = 1e-3: errors before and after learning, nats left."""
    lines = []
    for name, record in records(folder, "core-share").items():
        shares = [float(row["share"] or 0) for row in record.rows]
        first: dict[int, float] = {}
        for share in sorted({round(share, 1) for share in shares}):
            own = [row for row, found in zip(record.rows, shares, strict=True) if round(found, 1) == share]
            at = [row for row in own if row.get("sigma") == 1e-3]
            after = by_seed(at, "test_error", {})
            first = first or after  # the smallest share: a core of other classes
            better = [after[seed] - first[seed] for seed in sorted(after.keys() & first.keys())]
            lines.append(
                [
                    f"{DATA[name]}, {share:.0%}",
                    *(interval(values(own, column)) for column in ("core_only_error", "trained_error")),
                    interval(values(at, "test_error")),
                    interval(better, sign="+"),
                    *(
                        f"{plain(min(v))} to {plain(max(v))}"
                        for v in (values(at, "nats"), values(at, "last_divergence"))
                    ),
                ]
            )
    head = ["core records of the users' classes", "core alone, %", "trained, %", "after forgetting, %", "against 0 %"]
    return table([*head, "bound, nats", "exact, last release, nats"], lines)


def speed(folder: Path, grows: str) -> str:
    """Part 4: what grows is batch, records or width."""
    rows = [row for row in records(folder, "speed")["synthetic"].rows if row["grows"] == grows]
    columns = {
        "subtract_s": "subtract, s",
        "check_s": "check, s",
        "solve_s": "solve, s",
        "whole_s": "whole, s",
        "per_second": "deletions per s",
        "best_per_second": "(best)",
        "rebuild and solve_s": "sum up again and solve, s",
        "rebuild_ratio": "times longer",
    }
    lines = [
        [*(f"{int(row[size] or 0):,}" for size in ("n", "k", "batch")), *(plain(row[column]) for column in columns)]
        for row in rows
    ]
    return table(["n", "k", "batch", *columns.values()], lines)


def users(record: Record) -> int:
    """Return how many users the record's runs had."""
    return int(record.rows[0]["users"] or 0)


def values(rows: Sequence[Row], column: str, **wanted: str) -> list[float]:
    """Return a column of the rows that match, in the order of the seeds; missing values are left out."""
    chosen = [row for row in rows if all(row.get(name) == value for name, value in wanted.items())]
    return [float(row[column]) for row in chosen if row.get(column) is not None]  # type: ignore[arg-type]  # not None


def by_seed(rows: Sequence[Row], column: str, wanted: dict[str, str]) -> dict[int, float]:
    """Return a column of the rows that match, by seed."""
    chosen = [row for row in rows if all(row.get(name) == value for name, value in wanted.items())]
    return {int(row["seed"] or 0): float(row[column] or 0.0) for row in chosen}


def combined(
    rows: Sequence[Row], column: str, left: dict[str, str], right: dict[str, str], how: Callable[[float, float], float]
) -> list[float]:
    """Return how(left, right) of every seed that both have."""
    one, other = by_seed(rows, column, left), by_seed(rows, column, right)
    return [how(one[seed], other[seed]) for seed in sorted(one.keys() & other.keys())]


def paired(rows: Sequence[Row], column: str, left: dict[str, str], right: dict[str, str]) -> list[float]:
    """Return left - right, seed by seed."""
    return combined(rows, column, left, right, lambda a, b: a - b)


def interval(found: Sequence[float], *, sign: str = "") -> str:
    """Return mean ± half of the t-prediction interval, or the mean alone after one run."""
    if not found:
        return NOTHING
    expected = for_a_new_run(found)
    half = "" if expected.runs < 2 else f" ± {expected.half:.1f}"
    return f"{expected.mean:{sign}.1f}{half}"


def largest(rows: Sequence[Row], column: str) -> str:
    """Return the largest value over seeds."""
    found = values(rows, column)
    return plain(max(found)) if found else NOTHING


def middle(rows: Sequence[Row], column: str) -> str:
    """Return the median over seeds."""
    found = values(rows, column)
    return plain(statistics.median(found)) if found and max(found) > 0 else NOTHING


def ratio(rows: Sequence[Row], column: str, left: dict[str, str], right: dict[str, str]) -> str:
    """Return the median over seeds of left / right."""
    if not all(by_seed(rows, column, right).values()):
        return NOTHING
    return f"{plain(statistics.median(combined(rows, column, left, right, lambda a, b: a / b)))}x"


def plain(value: str | int | float | bool | None) -> str:
    """Return a number with three significant figures."""
    if value is None:
        return NOTHING
    number = float(value)
    if number and not 1e-3 <= abs(number) < 1e6:
        return f"{number:.1e}"
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.3g}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table, numbers to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
