"""Choosing the ridge mu by generalized cross-validation, from the retained statistics alone.

Source: Golub, Heath and Wahba 1979, "Generalized cross-validation as a method for choosing a good ridge parameter",
eq. 1.4: V(mu) = (1/n) ||(I - S) t||^2 / ((1/n) tr(I - S))^2 with the hat matrix S = Phi (A + n mu I)^-1 Phi^T, here
summed over the C outputs, which share S. With features per output there is one S over all n C equations, whose number
stands in the place of n in V; the ridge stays n mu with n records. In the eigenvectors of A it needs only A, B,
sum ||t||^2 and n.

mu is a function of the retained statistics, so it must be chosen anew from every version's statistics: a mu that was
chosen while a record was in, and kept after it left, would tell about the record.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from unlearning.errors import OutOfRange, ShapeMismatch
from unlearning.quantization import QuantizationPlan
from unlearning.residual import aligned, default_residual_budget, normal_equations, residual_bound
from unlearning.statistics import Statistics

DEFAULT_GRID = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0, 10.0)
"""Half a decade apart, because scores are flat near their minimum. Features have mean square one: mu = 1 halves the
weights along an average direction. At 10 little more than the core network is left, which is right for few records."""
NEARLY_EQUAL = 1e-2
"""Scores this close, relatively, count as equal, and then the larger mu is taken. It is the better conditioned one, and
with fewer records than features, where the score is nearly constant for every small mu, also the better guess."""
SMALLEST_MISFIT = 2.0**-30
"""A squared misfit below this share of sum ||t||^2 is a difference of equal numbers: such a mu gets no score."""
RESERVE = 2.0
"""A mu is taken only if the rounding of its solve, bounded beforehand, stays under the budget by this factor."""


@dataclass(frozen=True, slots=True)
class MuChoice:
    """The ridge and the score of each candidate in the order of the grid; infinite where there is none.

    Secret like the statistics that it was computed from, and to be destroyed with them.
    """

    mu: float
    scores: tuple[float, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Spectrum:
    """values (p,) descending, vectors (d, p), rotated (p, q) = vectors^T B; p = min(d, equations) bounds A's rank."""

    values: Tensor
    vectors: Tensor
    rotated: Tensor


def choose_mu(
    statistics: Statistics,
    plan: QuantizationPlan,
    grid: Sequence[float] = DEFAULT_GRID,
    *,
    residual_budget: float | None = None,
) -> MuChoice:
    """Return the candidate with the smallest score among those at which the solve can be proved.

    `residual_budget` None: each candidate's own, `default_residual_budget`. If no candidate can be proved it is the
    largest, and `solve_exact` refuses it. Without records, or when every target is zero, every mu gives zero weights,
    and the largest is taken. Equal statistics give equal bits on one build, machine and thread count.
    Raises OutOfRange: a grid that does not rise or is not positive, count above capacity; ShapeMismatch.
    """
    check_grid(grid)
    if statistics.columns != plan.columns:
        raise ShapeMismatch("columns of the statistics", statistics.columns, plan.columns)
    if statistics.count == 0 or statistics.target_square == 0:
        return MuChoice(grid[-1], (math.inf,) * len(grid))
    spectrum = decompose(statistics, plan)
    scores = tuple(score(statistics, plan, spectrum, mu) for mu in grid)
    limit = min(scores) * (1.0 + NEARLY_EQUAL)
    best = max((i for i, value in enumerate(scores) if value <= limit and math.isfinite(value)), default=len(grid) - 1)
    for mu in grid[best:]:
        budget = default_residual_budget(plan, statistics.width, mu) if residual_budget is None else residual_budget
        if RESERVE * rounding_bound(statistics, plan, spectrum, mu) <= budget:
            return MuChoice(mu, scores)
    return MuChoice(grid[-1], scores)


def check_grid(grid: Sequence[float]) -> None:
    """Raise OutOfRange unless the candidates are positive, finite and strictly rising."""
    rising = all(low < high for low, high in pairwise(grid))
    if not grid or not rising or not all(mu > 0 and math.isfinite(mu) for mu in grid):
        raise OutOfRange("grid of mu", tuple(grid), "one or more positive numbers that rise")


def decompose(statistics: Statistics, plan: QuantizationPlan) -> Spectrum:
    """Return the eigenvectors of A that its rank allows, n >= 1. One decomposition serves the whole grid."""
    values, vectors = torch.linalg.eigh(aligned(statistics.gram))
    rank = min(statistics.width, statistics.count * plan.equations_per_record)
    kept = vectors.flip(1)[:, :rank].contiguous()
    # A is positive semidefinite: what lies below zero is rounding.
    return Spectrum(values.flip(0)[:rank].clamp_min(0.0), kept, kept.mT @ aligned(statistics.cross))


def score(statistics: Statistics, plan: QuantizationPlan, spectrum: Spectrum, mu: float) -> float:
    """Return V(mu) in real units, summed over outputs; infinity where the misfit is lost in rounding.

    With r = n mu: ||(I - S) t||^2 = sum ||t||^2 - sum_j b_j (l_j + 2 r) / (l_j + r)^2 for eigenvalues l_j of A and b_j
    the squared norm of row j of V^T B, and tr(I - S) = N - p + sum_j r / (l_j + r) with N equations, in which nothing
    cancels.
    """
    n = statistics.count * plan.equations_per_record
    ridge = math.ldexp(statistics.count * mu, 2 * plan.phi_exponent)
    shifted = spectrum.values + ridge
    explained = spectrum.rotated.square().sum(1) * (shifted + ridge) / shifted.square()
    total = float(statistics.target_square)
    misfit = total - float(explained.sum())
    if misfit <= SMALLEST_MISFIT * total:
        return math.inf
    free = n - spectrum.values.shape[0] + float((ridge / shifted).sum())
    return math.ldexp(misfit, -2 * plan.target_exponent) / n / (free / n) ** 2


def rounding_bound(statistics: Statistics, plan: QuantizationPlan, spectrum: Spectrum, mu: float) -> float:
    """Return what `residual_bound` would give at mu if the computed residual were zero: mostly all of it."""
    system = normal_equations(statistics, plan, mu)
    shifted = spectrum.values + math.ldexp(statistics.count * mu, 2 * plan.phi_exponent)
    x = spectrum.vectors @ (spectrum.rotated / shifted.unsqueeze(1))
    return residual_bound(system, x, torch.zeros_like(x))[1]
