"""White-box bound: what the released weights tell to somebody who reads all of them, in nats.

Released: S = W~ + Z with Z ~ N(0, Sigma) in each column; reference: W* + Z', the same Sigma, W* the minimiser of the
retained loss. With the gradient r = H W~ - B/n measured over the retained records, W~ - W* = H^-1 r exactly, because
the loss is quadratic, and so

    KL = 1/2 tr(r^T H^-1 Sigma^-1 H^-1 r) = 1/2 ||H^(power/2 - 1) r||^2 / sigma^2    for Sigma = sigma^2 H^-power.

H >= mu I gives KL <= ||r||^2 / (2 mu^(2 - power) sigma^2). The information about the forgotten records is at most E KL.
Source: dissertation, section 6.5, with the factor 1/2 that it drops (docs/theory.md).

Float error is added, never hoped away: every norm is bounded through the residual of the solve that produced it, so a
reported value is at least the true one.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from unlearning.bounds.noise_shape import INVERSE_HESSIAN, ISOTROPIC, NoiseShape, check_mu, check_noise
from unlearning.errors import BoundRefused, NonFinite, OutOfRange, ShapeMismatch
from unlearning.residual import gamma

TOLERATED_SHARE = 0.1
"""A bound of which float error of the solve makes up more than this is refused: the problem is ill-conditioned."""


@dataclass(frozen=True, slots=True)
class KLBound:
    """nats: an upper bound on the divergence; computed: without float error; float_error: their difference."""

    nats: float
    computed: float

    @property
    def float_error(self) -> float:
        """How many of the nats only pay for rounding."""
        return 0.0 if math.isinf(self.nats) else self.nats - self.computed


def cheap_bound(residual_norm: float, noise: NoiseShape, mu: float) -> float:
    """Return ||r||^2 / (2 mu^(2 - power) sigma^2), in nats; `residual_norm` must be an upper bound. No noise: infinity.

    Raises OutOfRange: mu not positive, a negative norm, noise of an unknown shape.
    """
    check_mu(mu)
    check_noise(noise)
    if not residual_norm >= 0:
        raise OutOfRange("residual norm", residual_norm, ">= 0")
    if noise.sigma == 0:
        return math.inf
    shift = residual_norm / (lowest_scale(noise, mu) * noise.sigma)
    return 0.5 * shift * shift * (1.0 + gamma(16))


def allowed_residual(kappa: float, noise: NoiseShape, mu: float) -> float:
    """Return the largest ||r|| whose `cheap_bound` is at most kappa nats: mu^(1 - power/2) sigma sqrt(2 kappa).

    Without noise nothing is allowed: 0. Raises OutOfRange: kappa or mu not positive, noise of an unknown shape.
    """
    check_mu(mu)
    check_noise(noise)
    if not (kappa > 0 and math.isfinite(kappa)):
        raise OutOfRange("kappa", kappa, "> 0")
    # Rounded down by more than all roundings of the two formulas together.
    return lowest_scale(noise, mu) * noise.sigma * math.sqrt(2.0 * kappa) * (1.0 - gamma(32))


def lowest_scale(noise: NoiseShape, mu: float) -> float:
    """Return mu^(1 - power/2): a gradient of norm r moves the weights by at most r over this, in units of the noise."""
    scale: float = mu ** (1.0 - noise.power / 2.0)
    return scale


def white_box(
    hessian: Tensor,
    residual: Tensor,
    noise: NoiseShape,
    *,
    mu: float,
    residual_error: float = 0.0,
    hessian_error: float = 0.0,
) -> KLBound:
    """Return the exact KL, raised by its float error, for H (d, d) >= mu I and the gradient r (d, q), float64.

    residual_error: bound on the Frobenius norm of what `residual` is off by; hessian_error: the same for `hessian`, in
    the spectral norm. Without noise: infinity. Costs one Cholesky factor (one eigendecomposition for power 1/2).
    Raises ShapeMismatch; NonFinite; OutOfRange: mu, noise, a negative error, H below mu I; BoundRefused: the problem is
    ill-conditioned, more than TOLERATED_SHARE of the distance is float error of the solve.
    """
    check_mu(mu)
    check_noise(noise)
    check_inputs(hessian, residual, mu)
    if not (residual_error >= 0 and hessian_error >= 0):
        raise OutOfRange("float errors", (residual_error, hessian_error), ">= 0")
    if noise.sigma == 0:
        return KLBound(math.inf, math.inf)
    if noise.power in (ISOTROPIC, INVERSE_HESSIAN):
        distance, solve_error = by_cholesky(hessian, residual, noise.power, mu, hessian_error)
    else:
        distance, solve_error = by_eigenvectors(hessian, residual, noise.power, mu, hessian_error)
    computed = 0.5 * (distance / noise.sigma) ** 2
    bound = (distance + solve_error + residual_error / lowest_scale(noise, mu)) * covariance_slack(
        hessian, noise, mu, hessian_error
    )
    nats = 0.5 * (bound / noise.sigma) ** 2 * (1.0 + gamma(16))
    # Written so that NaN is refused as well.
    if not solve_error <= TOLERATED_SHARE * distance:
        raise BoundRefused(nats, nats - computed, TOLERATED_SHARE * nats, "the problem is ill-conditioned")
    return KLBound(nats, computed)


def require_within(bound: KLBound, kappa: float) -> None:
    """Raise BoundRefused unless the bound is at most kappa nats; the message says how much of it is float error."""
    if not bound.nats <= kappa:
        reason = "the residual is too large" if not bound.computed <= kappa else "float error alone breaks the budget"
        raise BoundRefused(bound.nats, bound.float_error, kappa, reason)


def check_inputs(hessian: Tensor, residual: Tensor, mu: float) -> None:
    """Raise ShapeMismatch, NonFinite or OutOfRange unless H (d, d) and r (d, q) are float64 and H can be >= mu I."""
    d = residual.shape[0] if residual.ndim == 2 else -1
    if residual.ndim != 2 or residual.dtype != torch.float64:
        raise ShapeMismatch("residual", (tuple(residual.shape), residual.dtype), "(d, q) in float64")
    if hessian.shape != (d, d) or hessian.dtype != torch.float64:
        raise ShapeMismatch("hessian", (tuple(hessian.shape), hessian.dtype), ((d, d), torch.float64))
    for name, values in (("hessian", hessian), ("residual", residual)):
        broken = int((~torch.isfinite(values)).sum())
        if broken:
            raise NonFinite(name, broken)
    smallest = float(hessian.diagonal().min()) if d else mu
    if smallest < mu * (1.0 - gamma(d + 8)):
        raise OutOfRange("smallest diagonal entry of the hessian", smallest, f">= mu = {mu}")


def by_cholesky(
    hessian: Tensor, residual: Tensor, power: float, mu: float, hessian_error: float
) -> tuple[float, float]:
    """Return ||H^(power/2 - 1) r|| for power 0 or 1, and a bound on its float error.

    X = H^-1 r is only a guess; with rho = r - H X the triangle inequality gives ||H^-1 r|| <= ||X|| + ||rho|| / mu, and
    in the norm of H^-1: ||r|| <= sqrt(tr X^T H X) + ||rho|| / sqrt(mu).
    """
    d = hessian.shape[0]
    factor, failed_at = torch.linalg.cholesky_ex(hessian)
    if int(failed_at):
        raise BoundRefused(math.inf, math.inf, math.inf, f"Cholesky met a negative pivot at column {int(failed_at)}")
    guess = torch.cholesky_solve(residual, factor)
    image = hessian @ guess
    left_over = float(torch.linalg.norm(residual - image))
    size = float(torch.linalg.norm(guess))
    rounding = gamma(d + 4) * float(torch.linalg.norm(hessian.abs() @ guess.abs() + residual.abs()))
    rho = (left_over + rounding + hessian_error * size) * (1.0 + gamma(residual.numel() + d + 8))
    if power == ISOTROPIC:
        return size, rho / mu + gamma(residual.numel() + 2) * size
    energy = max(float((guess * image).sum()), 0.0)
    energy_error = gamma(d + residual.numel() + 4) * float((guess.abs() * (hessian.abs() @ guess.abs())).sum())
    upper = math.sqrt(energy + energy_error + hessian_error * size * size)
    return math.sqrt(energy), upper - math.sqrt(energy) + rho / math.sqrt(mu)


def by_eigenvectors(
    hessian: Tensor, residual: Tensor, power: float, mu: float, hessian_error: float
) -> tuple[float, float]:
    """Return ||H^-a r||, a = 1 - power/2 in (0, 1), and a bound on its float error.

    eigh returns V, l with defects E = H - V diag(l) V^T and w = ||V^T V - I||. The nearest orthogonal matrix is within
    w of V, so H is within ||E|| + 3 w max l of a matrix whose power is known exactly. t -> -t^-a is operator monotone,
    hence ||P^-a - Q^-a|| <= a m^(-a-1) ||P - Q|| for P, Q >= m I (Bhatia, Matrix Analysis, theorem X.3.8).
    """
    d = hessian.shape[0]
    exponent = 1.0 - power / 2.0
    values, vectors = torch.linalg.eigh(hessian)
    largest, floor = float(values[-1]), min(float(values[0]), mu)
    if floor <= 0:
        raise BoundRefused(math.inf, math.inf, math.inf, f"an eigenvalue came out as {floor:.3e}, mu is {mu:.3e}")
    rounding = gamma(2 * d + 4)
    defect = (
        float(torch.linalg.norm(hessian - (vectors * values) @ vectors.mT)) + rounding * d * largest + hessian_error
    )
    skew = float(torch.linalg.norm(vectors.mT @ vectors - torch.eye(d, dtype=torch.float64))) + rounding * d
    distance = float(torch.linalg.norm((vectors.mT @ residual) / values.pow(exponent).unsqueeze(1)))
    size = float(torch.linalg.norm(residual))
    moved = exponent * floor ** (-exponent - 1.0) * (defect + 3.0 * skew * largest) * size
    return distance, moved + (skew + rounding * math.sqrt(d)) * floor**-exponent * size


def covariance_slack(hessian: Tensor, noise: NoiseShape, mu: float, hessian_error: float) -> float:
    """Return the factor on the distance for the covariance really drawn, sigma^2 (H + E)^-power, E from factoring H.

    The backward error of a Cholesky factor is at most gamma_{d+1} tr(H) (Higham 2002, theorem 10.3); the same again is
    allowed for the triangular solve. E <= (||E||/mu) H, and roots keep that order, so Sigma^-1 grows by at most
    (1 + ||E||/mu)^power.
    """
    if noise.power == ISOTROPIC:
        return 1.0
    backward = 2.0 * gamma(hessian.shape[0] + 8) * float(hessian.trace()) + hessian_error
    slack: float = (1.0 + backward / mu) ** (noise.power / 2.0)
    return slack
