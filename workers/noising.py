"""The noise that a version's weights are published with, and what is checked of it.

Drawn once per version from the database's random source; neither the draw nor its seed is kept. Kind, scale and grid
are constants of the registration; the covariance depends on the retained records only.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ledger.tables import Model
from unlearning.bounds.white_box import cheap_bound, covariance_slack
from unlearning.linear.statistics_problem import from_statistics
from unlearning.noise.covariance import Covariance, covariance_named
from unlearning.noise.gaussian import truncation_nats
from unlearning.noise.release import ReleaseGrid, grid_for
from unlearning.public_model import PublicModel
from unlearning.statistics import Statistics
from workers.deps import Deps
from workers.errors import CheckFailed
from workers.solving import Weights

UNLIKELY = 40.0
"""Noise whose size is less likely than 2 e^-40 is taken for a broken generator. Refusing it conditions the law on an
event of probability 1 - 2 e^-40, which adds at most -log(1 - 2 e^-40) < 4 e^-40 nats, 2e-17."""
RESERVE = 0.9
"""Of the residual that kappa allows; the rest is for the rounding of the noise's own covariance."""


def covariance(model: Model) -> Covariance:
    """Return the noise of a model that has some."""
    assert model.noise is not None
    assert model.sigma is not None
    return covariance_named(model.noise, model.sigma)


def largest_eigenvalue(public: PublicModel, mu: float) -> float:
    """Return a public bound on every Hessian's largest eigenvalue: what a record of clipped features can reach, and mu.

    ||Phi_i||^2 is at most d limit^2, for features per output C times that.
    """
    plan = public.plan
    entries = public.width * (plan.classes if plan.per_output else 1)
    return entries * math.ldexp(plan.phi_limit, -plan.phi_exponent) ** 2 + mu


def grid(model: Model, public: PublicModel) -> ReleaseGrid:
    """Return the grid on which a model's weights are published."""
    assert model.mu is not None
    return grid_for(covariance(model), mu=model.mu, largest_eigenvalue=largest_eigenvalue(public, model.mu))


def published(deps: Deps, model: Model, public: PublicModel, statistics: Statistics, solved: Weights) -> Weights:
    """Return the weights to publish: with noise, rounded to the grid. Without noise, the solved ones.

    Without records they are w_ref = 0 exactly: everything that they depend on is public then, so there is nothing for
    noise to hide.
    """
    if model.noise is None or not statistics.count:
        return solved
    assert model.mu is not None
    hessian = from_statistics(statistics, public.plan, model.mu).hessian()
    noise = deps.draw(covariance(model), hessian, solved.shape[1], deps.ledger.database.random)
    return grid(model, public).release(torch.from_numpy(solved) + noise).numpy()


def check(model: Model, public: PublicModel, statistics: Statistics, residual_bound: float, noise: Weights) -> float:
    """Return the nats that these weights tell at most, `residual_bound` being that of the weights before the noise.

    Raises CheckFailed: more than kappa, or noise of a size that its law does not produce.
    """
    assert model.mu is not None
    assert model.kappa is not None
    law = covariance(model)
    hessian = from_statistics(statistics, public.plan, model.mu).hessian()
    nats = cheap_bound(residual_bound, law, model.mu) * covariance_slack(hessian, law, model.mu, 0.0) ** 2
    nats += truncation_nats(noise.size) + 4.0 * math.exp(-UNLIKELY)
    # Written so that NaN is refused as well.
    if not nats <= model.kappa:
        raise CheckFailed("nats", "the weights before the noise are farther from the optimum than kappa allows")
    if not plausible(energy(law, hessian, torch.from_numpy(noise)), noise.size):
        raise CheckFailed("noise", "the noise is larger or smaller than its law makes it; look at the random source")
    return nats


def energy(law: Covariance, hessian: Tensor, noise: Tensor) -> float:
    """Return tr(z^T Sigma^-1 z), which is chi-squared with as many degrees of freedom as z has numbers.

    For isotropic and inverse-Hessian noise.
    """
    weighted = noise if law.power == 0 else hessian @ noise
    return float((noise * weighted).sum()) / law.sigma**2


def plausible(value: float, freedom: int) -> bool:
    """Whether a chi-squared value is such as occurs but with probability 2 e^-UNLIKELY, and not zero.

    Source: Laurent and Massart 2000, "Adaptive estimation of a quadratic functional", lemma 1.
    """
    spread = 2.0 * math.sqrt(freedom * UNLIKELY)
    return value > 0 and freedom - spread <= value <= freedom + spread + 2.0 * UNLIKELY


def difference(weights: Weights, solved: Weights) -> Weights:
    """Return the noise in published weights, rounding to the grid included."""
    return np.ascontiguousarray(weights - solved)
