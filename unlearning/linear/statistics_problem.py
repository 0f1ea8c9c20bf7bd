"""The quadratic given by exact integer statistics: its gradient and Hessian products need no pass over records."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from unlearning.linear.problem import check_mu
from unlearning.linear.solution import Residual
from unlearning.quantization import QuantizationPlan
from unlearning.residual import NormalEquations, check_residual, normal_equations
from unlearning.statistics import Statistics


@dataclass(frozen=True, slots=True, eq=False)
class StatisticsProblem:
    """L(w) of the records that `statistics` sum up, in real units, with w_ref = 0. Build it with `from_statistics`."""

    statistics: Statistics
    plan: QuantizationPlan
    mu: float
    system: NormalEquations | None

    @property
    def count(self) -> int:
        """n."""
        return self.statistics.count

    @property
    def reference(self) -> Tensor:
        """Zero, (d, q)."""
        return torch.zeros(self.statistics.cross.shape, dtype=torch.float64)

    def gradient(self, weights: Tensor) -> Tensor:
        """Return A w / n - B / n + mu w."""
        if self.system is None:
            return self.mu * weights
        scaled = weights * math.ldexp(1.0, -self.system.weight_exponent)
        return -self.system.residual(scaled) * self.system.real_scale

    def hessian_product(self, direction: Tensor) -> Tensor:
        """Return A v / n + mu v."""
        if self.system is None:
            return self.mu * direction
        return (self.system.matrix @ direction) * (math.ldexp(1.0, -2 * self.plan.phi_exponent) / self.count)

    def hessian(self) -> Tensor:
        """Return H = A / n + mu I, (d, d)."""
        if self.system is None:
            return self.mu * torch.eye(self.statistics.width, dtype=torch.float64)
        return self.system.matrix * (math.ldexp(1.0, -2 * self.plan.phi_exponent) / self.count)

    def moment_product(self, columns: Tensor) -> Tensor:
        """Return A/n times columns (d, r), n >= 1."""
        return self.hessian_product(columns) - self.mu * columns

    def measured(self, weights: Tensor) -> Residual:
        """Return the gradient's norm and its bound, as `residual.check_residual`."""
        report = check_residual(self.statistics, self.plan, weights.numpy(), mu=self.mu, residual_budget=math.inf)
        return Residual(report.residual_norm, report.residual_bound)


def from_statistics(statistics: Statistics, plan: QuantizationPlan, mu: float) -> StatisticsProblem:
    """Return the quadratic. Raises OutOfRange, ShapeMismatch: as `residual.normal_equations`."""
    check_mu(mu)
    system = normal_equations(statistics, plan, mu) if statistics.count else None
    return StatisticsProblem(statistics, plan, mu, system)
