"""Forgetting by subtraction of exact integer sums, and its baseline: summing up and solving anew."""

import os
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from benchmarks.results.readouts import linear_logits, weight_distance
from benchmarks.results.scenarios import Outcome, Scenario, timed
from benchmarks.results.worlds import Mapped
from unlearning.exact_solver import ExactSolution, solve_exact
from unlearning.residual import default_residual_budget
from unlearning.rows import QuantizedRows
from unlearning.statistics import Statistics
from unlearning.transition import check_transition
from unlearning.weights import weights_to_bytes


@dataclass(frozen=True)
class Exact:
    """A shared map with its fixed mu, and the statistics of every user."""

    mapped: Mapped
    mu: float
    whole: Statistics

    def solve(self, statistics: Statistics) -> ExactSolution:
        """Return the minimiser with its proved residual."""
        plan = self.mapped.model.plan
        budget = default_residual_budget(plan, statistics.width, self.mu)
        return solve_exact(statistics, plan, mu=self.mu, residual_budget=budget)

    def retrained(self, gone: Tensor) -> tuple[Statistics, ExactSolution]:
        """Return sums and weights of a service that never saw the records in the mask `gone`."""
        statistics = summed(self.mapped, self.mapped.users.take(np.flatnonzero(~gone.numpy())))
        return statistics, self.solve(statistics)


def summed(mapped: Mapped, rows: QuantizedRows) -> Statistics:
    """Return the statistics of records, summed up anew."""
    model = mapped.model
    return Statistics.zero(model.width, model.plan.columns).plus(rows, model.plan)


def prepare(mapped: Mapped, mu: float) -> Exact:
    """Learn from every user."""
    return Exact(mapped, mu, summed(mapped, mapped.users))


def never_forgot(exact: Exact, scenario: Scenario) -> Outcome:
    """Return the model that still knows everybody: what the others are compared with."""
    _, reference = exact.retrained(scenario.forgotten(exact.mapped.users.count))
    return _outcome(exact, exact.solve(exact.whole), reference, [0.0], None)


def by_subtraction(exact: Exact, scenario: Scenario) -> Outcome:
    """Forget request after request. Timed: subtraction, transition check, solve.

    Nats are zero only if statistics and weights equal those of the retrained model byte for byte, which is compared.
    """
    statistics, seconds = exact.whole, list[float]()
    solution = exact.solve(statistics)
    for request in scenario.requests:
        rows = exact.mapped.users.take(request.numpy())
        statistics, solution = timed(partial(_forget, exact, statistics, rows), seconds)
    never_saw, reference = exact.retrained(scenario.forgotten(exact.mapped.users.count))
    equal = never_saw.to_bytes() == statistics.to_bytes() and weights_to_bytes(reference.weights) == weights_to_bytes(
        solution.weights
    )
    return _outcome(exact, solution, reference, seconds, 0.0 if equal else None, bytes_equal=equal)


def by_summing_up_again(exact: Exact, scenario: Scenario) -> Outcome:
    """Retrain the same linear model from the retained records' stored features. Timed: sums, solve."""
    seconds: list[float] = []
    users = exact.mapped.users.count
    for number in range(1, len(scenario.requests) + 1):
        gone = scenario.after(number, users)
        _, solution = timed(partial(exact.retrained, gone), seconds)
    return _outcome(exact, solution, solution, seconds, 0.0)


def _forget(exact: Exact, before: Statistics, rows: QuantizedRows) -> tuple[Statistics, ExactSolution]:
    model = exact.mapped.model
    after = before.minus(rows, model.plan)
    nothing = QuantizedRows.empty(model.width, model.classes, per_output=model.plan.per_output)
    report = check_transition(before, after, [rows], [nothing], model.plan, os.urandom)
    if not report.passed:
        raise SystemExit(f"the transition check failed: {report.failures}")
    return after, exact.solve(after)


def _outcome(
    exact: Exact,
    solution: ExactSolution,
    reference: ExactSolution,
    seconds: list[float],
    nats: float | None,
    *,
    bytes_equal: bool | None = None,
) -> Outcome:
    weights, aim = torch.from_numpy(solution.weights), torch.from_numpy(reference.weights)
    mapped = exact.mapped
    return Outcome(
        linear_logits(mapped, mapped.users, weights),
        linear_logits(mapped, mapped.test, weights),
        seconds,
        nats,
        linear_logits(mapped, mapped.test, aim),
        {"weight_distance": weight_distance(weights, aim), "bytes_equal": bytes_equal},
    )
