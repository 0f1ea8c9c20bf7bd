"""From nats to an attacker's chances: the trade-off of two normal laws with the same covariance.

The best test between N(W~, Sigma) and N(W*, Sigma) has the strength mu_G = sqrt(2 KL), the distance of the means in
units of the noise. Source: Dong, Roth and Su 2022, "Gaussian differential privacy", section 2 and corollary 3.3.
Exposures (`exposure`) compare laws of different covariance; for those these functions are an approximation.
"""

import math
from collections.abc import Iterable

import torch

from unlearning.errors import OutOfRange

SLACK = 2.0**-48
"""Relative allowance for the rounding of the normal distribution function, added on the safe side."""


def gaussian_mu(nats: float) -> float:
    """Return mu_G = sqrt(2 KL). Raises OutOfRange: negative or NaN."""
    check_nats(nats)
    return math.sqrt(2.0 * nats)


def compose(nats: Iterable[float]) -> float:
    """Return mu_G of several releases of one sequence, also adaptive ones: sqrt(2 sum KL_t)."""
    total = 0.0
    for each in nats:
        check_nats(each)
        total += each
    return gaussian_mu(total)


def best_success(nats: float) -> float:
    """Return Phi(mu_G / 2): how often the best attacker is right who saw either law with equal chance."""
    return normal_cdf(gaussian_mu(nats) / 2.0)


def delta(nats: float, epsilon: float) -> float:
    """Return the smallest delta, rounded up, for which (epsilon, delta) holds, epsilon >= 0.

    delta = Phi(-eps/mu_G + mu_G/2) - e^eps Phi(-eps/mu_G - mu_G/2). Raises OutOfRange.
    """
    if not (epsilon >= 0 and math.isfinite(epsilon)):
        raise OutOfRange("epsilon", epsilon, "finite and >= 0")
    strength = gaussian_mu(nats)
    if strength == 0:
        return 0.0
    if math.isinf(strength):
        return 1.0
    above = normal_cdf(strength / 2.0 - epsilon / strength)
    below = math.exp(epsilon + log_normal_cdf(-strength / 2.0 - epsilon / strength))
    return min(1.0, max(0.0, above - below) + SLACK * (1.0 + epsilon) * above)


def epsilon(nats: float, delta_allowed: float) -> float:
    """Return an epsilon, at most 1e-9 relatively above the smallest, for which (epsilon, delta_allowed) holds.

    Raises OutOfRange: delta_allowed outside (0, 1), infinite nats.
    """
    if not 0 < delta_allowed < 1:
        raise OutOfRange("delta", delta_allowed, "above 0, below 1")
    check_nats(nats)
    if math.isinf(nats):
        raise OutOfRange("nats", nats, "finite: without noise no epsilon exists")
    if delta(nats, 0.0) <= delta_allowed:
        return 0.0
    low, high = 0.0, 1.0
    while delta(nats, high) > delta_allowed:
        low, high = high, 2.0 * high
    while high - low > 1e-9 * high:
        middle = (low + high) / 2.0
        low, high = (low, middle) if delta(nats, middle) <= delta_allowed else (middle, high)
    return high


def normal_cdf(x: float) -> float:
    """Return Phi(x)."""
    return 0.5 * math.erfc(-x / math.sqrt(2.0))


def log_normal_cdf(x: float) -> float:
    """Return log Phi(x), also where Phi(x) is too small for a float."""
    return float(torch.special.log_ndtr(torch.tensor(x, dtype=torch.float64)))


def check_nats(nats: float) -> None:
    """Raise OutOfRange unless nats >= 0; infinity is allowed."""
    if not nats >= 0:
        raise OutOfRange("nats", nats, ">= 0")
