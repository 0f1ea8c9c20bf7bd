"""Inverse-Hessian noise without factoring H: solve H z = sigma (n^-1/2 Phi^T eps1 + sqrt(mu) eps2).

The right side has covariance sigma^2 (A/n + mu I) = sigma^2 H, so z has sigma^2 H^-1. It is the ridge problem of the
same features with random targets sigma sqrt(n) eps1 and the random reference sigma eps2 / sqrt(mu), so every solver of
the model's own problem can draw its noise.

An iterative solver stops early and leaves H z' = right side - rho. z' is then not exactly normal, because rho depends
on the draw, and that must be paid for. After the solve, independent noise of standard deviation tau is added to every
coordinate. Couple the two releases W~ + z'(eps) and W* + z'(eps + s): the shortest s that moves the exact z by W~ - W*
costs 1/2 ||s||^2, which is the white-box KL; what is left is H^-1 (rho(eps) - rho(eps + s)), at most 2 rho / mu long,
hidden by tau:

    KL <= white box + 2 rho^2 / (mu tau)^2                                  (chain rule, then data processing).

rho is a public budget that both solves keep, so the bound holds for every draw. The solver must depend on the retained
records, the targets and the reference alone: do not start it at the weights of before.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from unlearning.bounds.noise_shape import check_mu
from unlearning.errors import BoundRefused, OutOfRange
from unlearning.noise.gaussian import RandomBytes, standard_normals
from unlearning.residual import gamma


class FeatureShape(Protocol):
    """The part of the features of n records that is needed here (`linear.features.Features` has it)."""

    @property
    def count(self) -> int:
        """Number of retained records."""

    @property
    def outputs(self) -> int:
        """C."""

    @property
    def weight_shape(self) -> tuple[int, int]:
        """(d, q)."""


class Solved(Protocol):
    """What the solver hands back (`linear.solution.Solution` has it)."""

    @property
    def weights(self) -> Tensor:
        """(d, q)."""

    @property
    def residual_bound(self) -> float:
        """Upper bound on the gradient's Frobenius norm there, its own float error included."""


@dataclass(frozen=True, slots=True, eq=False)
class SolvedNoise:
    """noise (d, q); truncation_nats: to be added to the white-box value of sigma^2 H^-1."""

    noise: Tensor
    truncation_nats: float


def truncation_nats(residual_budget: float, tau: float, mu: float) -> float:
    """Return 2 rho^2 / (mu tau)^2; infinite without tau. Raises OutOfRange: mu not positive, the others negative."""
    check_mu(mu)
    if not (residual_budget >= 0 and tau >= 0):
        raise OutOfRange("residual budget and tau", (residual_budget, tau), ">= 0")
    return math.inf if tau == 0 else 2.0 * (residual_budget / (mu * tau)) ** 2 * (1.0 + gamma(16))


def allowed_truncation(nats: float, tau: float, mu: float) -> float:
    """Return the residual at which `truncation_nats` is at most `nats`: mu tau sqrt(nats / 2)."""
    check_mu(mu)
    return mu * tau * math.sqrt(nats / 2.0) * (1.0 - gamma(32))


def perturbed_solve(
    features: FeatureShape,
    fit: Callable[[Tensor, Tensor], Solved],
    random: RandomBytes,
    *,
    mu: float,
    sigma: float,
    tau: float,
    residual_budget: float,
) -> SolvedNoise:
    """Draw noise of covariance sigma^2 H^-1 + tau^2 I through `fit`: targets (n, C), reference (d, q) -> the ridge fit
    of the retained features with this mu, for instance `linear.krylov.solve_krylov`.

    Raises OutOfRange: mu, sigma or tau not positive, no records; BoundRefused: the solve's residual is over its budget.
    """
    nats = truncation_nats(residual_budget, tau, mu)
    if not (sigma > 0 and math.isfinite(sigma) and tau > 0 and math.isfinite(tau)):
        raise OutOfRange("sigma and tau", (sigma, tau), "> 0")
    if features.count < 1:
        raise OutOfRange("count", features.count, ">= 1")
    targets = sigma * math.sqrt(features.count) * standard_normals((features.count, features.outputs), random)
    reference = sigma / math.sqrt(mu) * standard_normals(features.weight_shape, random)
    solved = fit(targets, reference)
    if not solved.residual_bound <= residual_budget:
        reached = truncation_nats(solved.residual_bound, tau, mu)
        raise BoundRefused(
            reached, 0.0, nats, f"the noise was solved to a residual of {solved.residual_bound:.3e} only"
        )
    return SolvedNoise(solved.weights + tau * standard_normals(features.weight_shape, random), nats)
