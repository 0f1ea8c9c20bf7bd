"""What do chosen hyper-parameters gain, and what do they cost?

Run it from the repository's root: `python -m benchmarks.accuracy` (scikit-learn's digits, a minute or two), and
`--npz FILE` for another data set: an archive with x_train, y_train, x_test, y_test, grey images of type uint8.
Every figure is a mean over `--seeds`; with one core network per seed, maps and ridges are compared on equal terms.
"""

import argparse
import os
import statistics as figures
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.solve import synthetic_rows
from unlearning.choose_map import Candidate, choose_map
from unlearning.exact_solver import solve_exact
from unlearning.extraction import PADDED_BATCH, extract_padded
from unlearning.feature_maps import fit_feature_map
from unlearning.gcv import DEFAULT_GRID, choose_mu
from unlearning.public_model import DEFAULT_ALPHA, PublicModel, assemble, fit_public_model
from unlearning.quantization import QuantizationPlan, plan_quantization
from unlearning.residual import default_residual_budget
from unlearning.rows import QuantizedRows
from unlearning.statistics import Statistics

FIXED_MU = 0.01
FEW = 200
LOOSE = 1e6


@dataclass(frozen=True)
class Split:
    """Core, users and test records of one seed."""

    x: dict[str, np.ndarray]
    y: dict[str, np.ndarray]


def split(x: np.ndarray, y: np.ndarray, sizes: dict[str, int], seed: int) -> Split:
    """Deal records out at random."""
    order = np.random.default_rng(seed).permutation(len(y))
    bounds = np.cumsum([0, *sizes.values()])
    parts = {name: order[bounds[i] : bounds[i + 1]] for i, name in enumerate(sizes)}
    return Split({n: x[i] for n, i in parts.items()}, {n: y[i] for n, i in parts.items()})


def digits(seed: int) -> Split:
    """Return scikit-learn's 1,797 digits: 300 core, 1,000 users, 497 test."""
    from sklearn.datasets import load_digits

    data = load_digits()
    images = (data.images * 15).astype(np.uint8)[:, None]
    return split(images, data.target, {"core": 300, "users": 1000, "test": 497}, seed)


def archive(path: Path, seed: int) -> Split:
    """Return 1,000 core, 5,000 users and 2,000 test records of an archive; the test records are from its test part."""
    with np.load(path, allow_pickle=False) as data:
        got = split(data["x_train"][:, None], data["y_train"], {"core": 1000, "users": 5000}, seed)
        rest = split(data["x_test"][:, None], data["y_test"], {"test": 2000}, seed)
    return Split(got.x | rest.x, got.y | rest.y)


def with_map(model: PublicModel, x_core: np.ndarray, candidate: Candidate, seed: int) -> PublicModel:
    """Return the model with another feature map on the same core network."""
    inputs = model.input_spec.prepare(x_core)
    fitted = fit_feature_map(
        candidate.feature_map,
        model.network,
        inputs,
        width=candidate.width,
        bandwidth=candidate.bandwidth,
        generator=torch.Generator().manual_seed(seed),
    )
    phi, logits = extract_padded(model.network, fitted, inputs, PADDED_BATCH)
    plan = plan_quantization(phi, logits, alpha=DEFAULT_ALPHA, classes=model.classes)
    return assemble(model.network, model.architecture, model.input_spec, fitted, plan)


def accuracy(model: PublicModel, statistics: Statistics, test: QuantizedRows, mu: float) -> float:
    """Return the share of test records that are classified rightly with the weights at mu."""
    weights = solve_exact(statistics, model.plan, mu=mu, residual_budget=LOOSE).weights
    logits = model.plan.core_values(test.core_output) + model.plan.phi_values(test.phi) @ weights
    return float((logits.argmax(1) == test.labels).mean())


def measure(data: Split, seed: int, epochs: int) -> dict[tuple[str, str], dict[str, float]]:
    """Return the figures of one seed by (map, number of users)."""
    names = tuple(str(i) for i in range(int(data.y["core"].max()) + 1))
    fit = partial(
        fit_public_model, class_names=names, architecture="small-cnn", feature_map="head", epochs=epochs, seed=seed
    )
    start = time.perf_counter()
    head = fit(data.x["core"], data.y["core"])
    trained = time.perf_counter()
    choice = choose_map(
        data.x["core"], data.y["core"], fit=fit, alpha=DEFAULT_ALPHA, grid=DEFAULT_GRID, seed=seed
    ).chosen
    chose = time.perf_counter()
    print(f"seed {seed}: trained in {trained - start:.1f} s, chose {choice} in {chose - trained:.1f} s", flush=True)
    maps = {name: Candidate(name) for name in ("head", "pooled", "nystrom")} | {"auto": choice}
    table: dict[tuple[str, str], dict[str, float]] = {}
    measured: dict[str, str] = {}
    for name, candidate in maps.items():
        model = with_map(head, data.x["core"], candidate, seed)
        same = measured.setdefault(model.digest(), name)
        if same != name:
            table |= {(name, count): row for (of, count), row in table.items() if of == same}
            continue
        users, test = (model.extract(data.x[part], data.y[part]) for part in ("users", "test"))
        for count in (FEW, users.count):
            some = users.take(slice(0, count))
            statistics = Statistics.zero(model.width, model.classes).plus(some, model.plan)
            chosen = choose_mu(statistics, model.plan).mu
            by_mu = {mu: accuracy(model, statistics, test, mu) for mu in DEFAULT_GRID[2:]}
            core_only = model.plan.core_values(test.core_output).argmax(1) == test.labels
            table[name, f"{count:,}"] = {
                "d": model.width,
                "core": float(core_only.mean()),
                f"mu={FIXED_MU:g}": by_mu[FIXED_MU],
                "gcv": accuracy(model, statistics, test, chosen),
                "best": max(by_mu.values()),
                "log10 mu": float(np.log10(chosen)),
            }
    return table


def show(tables: list[dict[tuple[str, str], dict[str, float]]]) -> None:
    """Print the means over seeds: accuracies in per cent."""
    columns = list(next(iter(tables[0].values())))
    print("| map | users | " + " | ".join(columns) + " |\n|" + " --- |" * (len(columns) + 2))
    for key in tables[0]:
        means = {column: figures.mean(table[key][column] for table in tables) for column in columns}
        form = {"d": "{:.0f}", "log10 mu": "{:.1f}"}
        shown = {c: v if c in form else 100 * v for c, v in means.items()}
        cells = [form.get(column, "{:.1f}").format(value) for column, value in shown.items()]
        print(f"| {key[0]} | {key[1]} | " + " | ".join(cells) + " |")


def cost(widths: list[int], repeats: int) -> None:
    """Print the seconds of choosing and solving on synthetic statistics of 10,000 records and 10 classes."""
    plan = QuantizationPlan(10, 2**22, 16, 18, 12, 12, 5 * 2**12, 2**16)
    print("| d | choose mu, s | (best) | solve, s | (best) |\n| --- | --- | --- | --- | --- |")
    for width in widths:
        statistics = Statistics.zero(width, 10).plus(synthetic_rows(10_000, width, plan, seed=1), plan)
        budget = default_residual_budget(plan, width, FIXED_MU)
        chosen = seconds(lambda s=statistics: choose_mu(s, plan), repeats)
        solved = seconds(lambda s=statistics, b=budget: solve_exact(s, plan, mu=FIXED_MU, residual_budget=b), repeats)
        print(f"| {width} | {chosen[0]:.3f} | {chosen[1]:.3f} | {solved[0]:.3f} | {solved[1]:.3f} |", flush=True)


def seconds(work: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Return the median and the shortest time of some runs, after one that warms up."""
    took = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        work()
        took.append(time.perf_counter() - start)
    return figures.median(took[1:]), min(took[1:])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--npz", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--widths", type=int, nargs="*", default=[256, 1024, 2048])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    tables = []
    for seed in range(options.seeds):
        if options.npz is None:
            tables.append(measure(digits(seed), seed, options.epochs or 60))
        else:
            tables.append(measure(archive(options.npz, seed), seed, options.epochs or 10))
        print(f"means of {len(tables)} seeds")
        show(tables)
    cost(options.widths, options.repeats)
    print(f"load average over the last minute: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
