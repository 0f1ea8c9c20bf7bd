"""How far given weights are from the minimiser: the gradient's norm, with its own float error bounded.

In integer units the normal equations read (A + n mu 4^e I) X = B, with X = W * 2^(f-e), e and f the exponents of
features and targets. Both scalings are powers of two, hence exact, and so is A while it stays below 2^53.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from unlearning.errors import NonFinite, OutOfRange, ShapeMismatch
from unlearning.quantization import QuantizationPlan
from unlearning.statistics import Statistics

UNIT_ROUNDOFF = 2.0**-53
PANEL = 256


@dataclass(frozen=True, slots=True)
class ResidualReport:
    """Frobenius norms of the gradient H W - B/n, in real units.

    residual_norm: as computed. residual_bound: an upper bound on the true value. budget: what was allowed.
    """

    residual_norm: float
    residual_bound: float
    budget: float

    @property
    def passed(self) -> bool:
        """Whether the bound keeps the budget."""
        return self.residual_bound <= self.budget


@dataclass(frozen=True, slots=True, eq=False)
class NormalEquations:
    """matrix X = cross in integer units, matrix = A + n mu 4^e I; `real_scale` turns a residual into a gradient."""

    matrix: Tensor
    cross: Tensor
    real_scale: float
    weight_exponent: int

    def residual(self, x: Tensor) -> Tensor:
        """Return cross - matrix x."""
        return self.cross - self.matrix @ x

    def to_weights(self, x: Tensor) -> npt.NDArray[np.float64]:
        """Return W = X * 2^(e-f), row by row in memory."""
        solution: npt.NDArray[np.float64] = x.numpy()
        return np.ascontiguousarray(np.ldexp(solution, self.weight_exponent))

    def from_weights(self, weights: npt.NDArray[np.float64]) -> Tensor:
        """Return X = W * 2^(f-e)."""
        return aligned(np.ldexp(weights, -self.weight_exponent))


def gamma(terms: int) -> float:
    """Return m u / (1 - m u), the relative error of m roundings (Higham 2002, section 3.1)."""
    return terms * UNIT_ROUNDOFF / (1.0 - terms * UNIT_ROUNDOFF)


def aligned(values: npt.NDArray[np.generic]) -> Tensor:
    """Copy into torch's own memory: its fixed alignment keeps the linear algebra library's bits reproducible."""
    target = torch.empty(values.shape, dtype=torch.float64)
    target.copy_(torch.from_numpy(values))
    return target


def normal_equations(statistics: Statistics, plan: QuantizationPlan, mu: float) -> NormalEquations:
    """Return the float64 system of `statistics`, with n >= 1.

    Raises OutOfRange: mu not positive, or count outside 1 to capacity; ShapeMismatch: other columns than the plan's.
    """
    if not (mu > 0 and math.isfinite(mu)):
        raise OutOfRange("mu", mu, "> 0")
    if not 1 <= statistics.count <= plan.capacity:
        raise OutOfRange("count", statistics.count, f"1 to {plan.capacity}")
    if statistics.columns != plan.columns:
        raise ShapeMismatch("columns of the statistics", statistics.columns, plan.columns)
    e, f = plan.phi_exponent, plan.target_exponent
    matrix = aligned(statistics.gram)
    matrix.diagonal().add_(math.ldexp(statistics.count * mu, 2 * e))
    return NormalEquations(
        matrix=matrix,
        cross=aligned(statistics.cross),
        real_scale=math.ldexp(1.0, -e - f) / statistics.count,
        weight_exponent=e - f,
    )


def residual_bound(system: NormalEquations, x: Tensor, left_over: Tensor) -> tuple[float, float]:
    """Return the computed residual's norm and a bound on the true one, both in real units.

    `left_over` is system.residual(x). ||r|| <= ||r^|| + ||gamma_{k+4} (|A + ridge I||X| + |B|)||: k roundings of the
    product and four for A, n mu, their sum and the subtraction (Higham 2002, eq. 3.12). Sums of non-negative terms
    have small relative error; the last factor covers them and the norms, so the result errs on the safe side.
    """
    k = system.matrix.shape[0]
    computed = float(torch.linalg.norm(left_over))
    size = x.abs()
    # By panels: the magnitudes of the whole matrix would need a second large array.
    products = [panel.abs() @ size for panel in torch.split(system.matrix, PANEL)]
    error = gamma(k + 4) * float(torch.linalg.norm(torch.cat(products) + system.cross.abs()))
    safety = 1.0 + 2.0 * gamma(x.numel() + k + 8)
    return computed * system.real_scale, (computed + error) * safety * system.real_scale


def default_residual_budget(plan: QuantizationPlan, width: int, mu: float) -> float:
    """Return the gradient norm below which an error of the solve stays under half a grid step in a prediction.

    H >= mu I gives ||W - W*|| <= ||r|| / mu, so a logit is off by at most ||r|| ||phi|| / mu. Feature maps have mean
    square one per column over core records (features per output: summed over the outputs), so ||phi|| is sqrt(d) in
    the root mean square; half a step of the grid on which targets and core outputs are stored is 2^-(f+1). Asking for
    more would resolve what was rounded away at ingestion. Everything here is public and fixed when the model is
    registered.
    Raises OutOfRange: mu or width not positive.
    """
    if not (mu > 0 and math.isfinite(mu)):
        raise OutOfRange("mu", mu, "> 0")
    if width < 1:
        raise OutOfRange("width", width, ">= 1")
    return mu * math.ldexp(0.5, -plan.target_exponent) / math.sqrt(width)


def check_residual(
    statistics: Statistics,
    plan: QuantizationPlan,
    weights: npt.NDArray[np.float64],
    *,
    mu: float,
    residual_budget: float,
) -> ResidualReport:
    """Measure any weights (d, q) against the statistics. Without records, only zero weights are right.

    This proves the solve, not that the statistics are those of the retained records: that is `check_transition`.
    Raises ShapeMismatch; NonFinite; OutOfRange: as `normal_equations`.
    """
    if weights.shape != statistics.cross.shape:
        raise ShapeMismatch("weights", weights.shape, statistics.cross.shape)
    broken = int(weights.size - np.count_nonzero(np.isfinite(weights)))
    if broken:
        raise NonFinite("weights", broken)
    if statistics.count == 0:
        distance = mu * float(np.linalg.norm(weights))
        return ResidualReport(distance, distance * (1.0 + gamma(weights.size + 2)), residual_budget)
    system = normal_equations(statistics, plan, mu)
    x = system.from_weights(weights)
    computed, bound = residual_bound(system, x, system.residual(x))
    return ResidualReport(computed, bound, residual_budget)
