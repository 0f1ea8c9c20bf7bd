"""A ridge problem with its minimiser and its Gram matrix: where every leave-out formula starts.

The minimiser of 1/(2n) sum ||Phi w - t||^2 + mu/2 ||w - w_ref||^2 solves
(A + n mu I)(w - w_ref) = Phi^T (t - Phi w_ref) with A = Phi^T Phi, (d, d) in float64; a shared map has one A for all of
its classes.
"""

import math
from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor

from unlearning.errors import ProblemRefused
from unlearning.linear.features import PerOutputFeatures, SharedFeatures
from unlearning.linear.problem import RetainedProblem

StoredFeatures = SharedFeatures | PerOutputFeatures
"""Features whose rows are held in memory: the formulas need a record's own rows."""


class Ridge(Enum):
    """What happens to the ridge of the sum of squares, n mu, when m records leave.

    PER_RECORD: it becomes (n - m) mu, because mu belongs to the mean loss; this is what forgetting does.
    FIXED: it stays n mu, and leaving out is a pure downdate (dissertation, section 5.4.3).
    """

    PER_RECORD = "per record"
    FIXED = "fixed"

    def after(self, problem: RetainedProblem, removed: int) -> float:
        """Return the ridge in sum form when `removed` records are left out."""
        return (problem.count - removed if self is Ridge.PER_RECORD else problem.count) * problem.mu


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """A problem, its rows, A (d, d), the minimiser w (d, q) and the errors e = t - Phi w, (n, C)."""

    problem: RetainedProblem
    features: StoredFeatures
    gram: Tensor
    weights: Tensor
    errors: Tensor

    @property
    def count(self) -> int:
        """n."""
        return self.problem.count


def fit(features: StoredFeatures, targets: Tensor, mu: float, reference: Tensor | None = None) -> Fitted:
    """Return the fitted problem of these rows with targets (n, C) = y - f_c; O(n d^2 + d^3). No records: w = w_ref.

    Raises OutOfRange: mu not positive; ShapeMismatch; NonFinite; ProblemRefused: too ill-conditioned for float64.
    """
    problem = RetainedProblem(features, targets, mu, reference)
    gram = gram_of(features)
    weights = problem.reference
    if problem.count:
        step = features.adjoint(-problem.errors(problem.reference))
        weights = problem.reference + solve(factor(gram, problem.count * mu), step)
    return Fitted(problem, features, gram, weights, -problem.errors(weights))


def gram_of(features: StoredFeatures) -> Tensor:
    """Return A = sum Phi_i^T Phi_i, (d, d)."""
    rows = features.phi.reshape(-1, features.phi.shape[-1])
    return rows.mT @ rows


def factor(matrix: Tensor, ridge: float) -> Tensor:
    """Return the lower Cholesky factor of matrix + ridge I. Raises ProblemRefused: it has none in float64."""
    shifted = matrix.clone()
    shifted.diagonal().add_(ridge)
    lower, failed_at = torch.linalg.cholesky_ex(shifted)
    if int(failed_at):
        reason = f"Cholesky met a negative pivot at column {int(failed_at)}, ridge {ridge:g}"
        raise ProblemRefused(math.inf, math.inf, reason)
    factored: Tensor = lower
    return factored


def solve(lower: Tensor, right: Tensor) -> Tensor:
    """Return (L L^T)^-1 right, of shape (d, columns)."""
    solution: Tensor = torch.cholesky_solve(right, lower)
    return solution
