"""Part 1: how accurate are the public core alone, linear maps on it, and non-linear training of the same layers?

Every method learns from the same users' records; mu of the linear maps is chosen by generalized cross-validation from
those records alone. Fine-tuning is favoured: of its learning rates the one that does best on the test set counts.
"""

import torch

from benchmarks.results.fine_tuning import BLOCK, HIDDEN, below, fine_tune, tail_logits
from benchmarks.results.readouts import error, labels_of, linear_logits
from benchmarks.results.record import Record
from benchmarks.results.worlds import World, mapped
from unlearning.exact_solver import solve_exact
from unlearning.gcv import choose_mu
from unlearning.statistics import Statistics

SHARED_MAPS = ("head", "pooled", "nystrom")
LEARNING_RATES = (1e-3, 3e-3)
WIDE = 2048
"""Landmarks of a wider Nystrom map, where the core has as many records."""
LOOSE = 1e6
"""A residual budget that refuses nothing: here accuracy is measured, and nothing is published."""


def measure(record: Record, world: World, *, epochs: int, rates: tuple[float, ...] = LEARNING_RATES) -> None:
    """Add one row per method: the error on the test set in per cent."""
    labels = world.labels(world.deal.test)
    common = {"seed": world.seed, "users": world.deal.users.count, "core": world.deal.core.count}
    record.add(**common, method="core only", error=error(world.test.logits, labels))
    for name in SHARED_MAPS:
        record.add(**common, method=name, **exact_map(world, name))
    if world.deal.core.count >= WIDE:
        record.add(**common, method="nystrom, wide", **exact_map(world, "nystrom", WIDE + 1))
    for scope in (HIDDEN, BLOCK):
        record.add(**common, method=f"fine-tuned {scope}", **fine_tuned(world, scope, epochs, rates))


def exact_map(world: World, name: str, width: int | None = None) -> dict[str, float]:
    """Return the test error of the exact solution under a map, its width and its mu."""
    made = mapped(world, name, width=width)
    statistics = Statistics.zero(made.model.width, made.model.plan.columns).plus(made.users, made.model.plan)
    mu = choose_mu(statistics, made.model.plan).mu
    solution = solve_exact(statistics, made.model.plan, mu=mu, residual_budget=LOOSE)
    logits = linear_logits(made, made.test, torch.from_numpy(solution.weights))
    return {"error": error(logits, labels_of(made.test)), "width": made.model.width, "mu": mu}


def fine_tuned(world: World, scope: str, epochs: int, rates: tuple[float, ...]) -> dict[str, float]:
    """Return the smallest test error over the learning rates, and the rate that had it."""
    network, users, test = world.model.network, world.deal.users, world.deal.test
    x = below(network, world.inputs(users), world.users, scope)
    tested = below(network, world.inputs(test), world.test, scope)
    labels = world.labels(users)
    errors = {}
    for rate in rates:
        tail = fine_tune(network, scope, x, labels, epochs=epochs, learning_rate=rate, seed=world.seed)
        errors[rate] = error(tail_logits(tail, tested), world.labels(test))
    best = min(errors, key=errors.__getitem__)
    return {"error": errors[best], "learning_rate": best, "epochs": epochs}
