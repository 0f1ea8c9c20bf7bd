"""What stochastic gradient descent leaves behind, bounded before it runs: only for isotropic or inverse-Hessian noise.

The forgetting step minimises mean_i l_i(v), l_i(v) = 1/2 v^T H_i v - g^T v, H_i = Phi_i^T Phi_i + mu I, from v = 0 by
tau steps of length mu/beta^2, each on a batch of B records drawn with replacement, without momentum (dissertation,
eq. 6.11 and 6.12, with the 1/n that those drop). With gamma = 1 - mu^2/beta^2 and W' = W_{j-1} - v_tau, Theorem 2 *of
this problem* says

    E ||W' - W*||^2 <= gamma^tau ||W_{j-1} - W*||^2 + 2 sigma_aux / (B beta),
    sigma_aux = 1/2 [ mean_i g^T H_i^-1 g - g^T H^-1 g ] <= ||g||^2 / (2 mu).

The dissertation puts another constant in its place, that of the training loss; its eq. 6.41 is kept below under a name
that says so. Derivation and counter-example: docs/theory.md, benchmarks/theory/counterexample.py.
The measured white-box value (`white_box`) is always to be preferred; this one tells beforehand how many steps to plan.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from unlearning.bounds.noise_shape import NoiseShape, check_mu, check_noise
from unlearning.errors import NonFinite, OutOfRange, ShapeMismatch
from unlearning.residual import gamma as roundings


@dataclass(frozen=True, slots=True)
class PublicClips:
    """feature_norm bounds the spectral norm of Phi(x), target_norm that of y - f_c, for every record: public clips."""

    feature_norm: float
    target_norm: float
    mu: float

    def __post_init__(self) -> None:
        """Raise OutOfRange unless everything is positive and finite."""
        check_mu(self.mu)
        for name in ("feature_norm", "target_norm"):
            value = getattr(self, name)
            if not (value > 0 and math.isfinite(value)):
                raise OutOfRange(name.replace("_", " "), value, "> 0")

    @property
    def beta(self) -> float:
        """Smoothness of every l_i: feature_norm^2 + mu."""
        return self.feature_norm**2 + self.mu

    @property
    def largest_start_loss(self) -> float:
        """M: no record's loss at w = 0 is larger."""
        return self.target_norm**2 / 2.0

    @property
    def contraction(self) -> float:
        """Gamma = 1 - mu^2 / beta^2: what a step leaves of the squared distance."""
        return 1.0 - (self.mu / self.beta) ** 2

    @property
    def step(self) -> float:
        """The step length for which all this holds, mu / beta^2."""
        return self.mu / self.beta**2

    @property
    def largest_drift(self) -> float:
        """A bound on n mu times the move of the minimiser per record that leaves: the record's gradient there.

        ||W*|| <= target_norm / sqrt(mu), because mu/2 ||W*||^2 <= L(W*) <= L(0) <= M.
        """
        weights = self.target_norm / math.sqrt(self.mu)
        return self.feature_norm * (self.feature_norm * weights + self.target_norm) + self.mu * weights


def auxiliary_noise(rows: Tensor, gradient: Tensor, mu: float) -> float:
    """Return sigma_aux for Phi rows (n, p, d), p = 1 shared or C per output, and the gradient g (d, q).

    By Woodbury, g^T H_i^-1 g = (||g||^2 - g^T Phi_i^T (mu I + Phi_i Phi_i^T)^-1 Phi_i g) / mu.
    Raises ShapeMismatch; NonFinite; OutOfRange: mu not positive.
    """
    check_mu(mu)
    if rows.ndim != 3 or gradient.ndim != 2 or rows.shape[2] != gradient.shape[0] or not rows.shape[0]:
        raise ShapeMismatch("features and gradient", (tuple(rows.shape), tuple(gradient.shape)), "(n, p, d), (d, q)")
    for name, values in (("features", rows), ("gradient", gradient)):
        broken = int((~torch.isfinite(values)).sum())
        if broken:
            raise NonFinite(name, broken)
    flat = rows.flatten(0, 1)
    hessian = flat.mT @ flat / rows.shape[0] + mu * torch.eye(rows.shape[2], dtype=rows.dtype)
    whole = float((gradient * torch.linalg.solve(hessian, gradient)).sum())
    seen = rows @ gradient
    inner = rows @ rows.mT + mu * torch.eye(rows.shape[1], dtype=rows.dtype)
    explained = (seen * torch.linalg.solve(inner, seen)).sum((1, 2)).mean()
    return max(0.0, 0.5 * ((float(gradient.square().sum()) - float(explained)) / mu - whole))


def auxiliary_noise_limit(gradient_norm: float, mu: float) -> float:
    """Return ||g||^2 / (2 mu) >= sigma_aux: H_i >= mu I, and the term subtracted is not negative."""
    check_mu(mu)
    if not gradient_norm >= 0:
        raise OutOfRange("gradient norm", gradient_norm, ">= 0")
    return gradient_norm**2 / (2.0 * mu)


def one_request(
    clips: PublicClips,
    noise: NoiseShape,
    *,
    gradient_norm: float,
    steps: int,
    batch: int,
    noise_of_steps: float | None = None,
) -> float:
    """Return a bound on E KL in nats for one forgetting step started where the retained gradient has this norm.

    noise_of_steps: sigma_aux if it is known, else its limit is used. Infinite without noise.
    Raises OutOfRange.
    """
    check_noise(noise)
    check_plan(steps, batch)
    limit = auxiliary_noise_limit(gradient_norm, clips.mu) if noise_of_steps is None else noise_of_steps
    if not limit >= 0:
        raise OutOfRange("sigma_aux", limit, ">= 0")
    distance = clips.contraction**steps * (gradient_norm / clips.mu) ** 2 + 2.0 * limit / (batch * clips.beta)
    return in_nats(distance, clips, noise)


def sequence(
    clips: PublicClips,
    noise: NoiseShape,
    *,
    count: int,
    forgotten: int,
    requests: int,
    steps: int,
    batch: int,
    weights: int,
) -> tuple[float, ...]:
    """Return bounds on E KL for each of several requests, from public constants alone; they add up (chain rule).

    count: records before the first request, at their exact minimiser; forgotten: records per request; weights: number
    of user weights d q. With e_j = E||W'_j - W*_j||^2, noise added after every step, and Minkowski's inequality,

        e_j <= (gamma^tau + beta/(B mu)) X_j,   X_j = (sqrt(e_{j-1}) + b G / (n_j mu))^2 + E||z||^2,

    since sigma_aux <= ||g||^2/(2 mu) and ||g||^2 <= beta^2 X. It falls only for B > beta/mu: smaller batches amplify.
    Raises OutOfRange: no records left, or a bad plan.
    """
    check_noise(noise)
    check_plan(steps, batch)
    if requests < 1 or forgotten < 1 or weights < 1 or count - requests * forgotten < 1:
        allowed = "all >= 1, with at least one record left"
        raise OutOfRange("count, forgotten, requests, weights", (count, forgotten, requests, weights), allowed)
    shrink = clips.contraction**steps + clips.beta / (batch * clips.mu)
    spread = weights * noise.sigma**2 / clips.mu**noise.power
    left, found = 0.0, []
    for request in range(1, requests + 1):
        drift = forgotten * clips.largest_drift / ((count - request * forgotten) * clips.mu)
        left = shrink * ((math.sqrt(left) + drift) ** 2 + spread)
        found.append(in_nats(left, clips, noise))
    return tuple(found)


def in_nats(distance: float, clips: PublicClips, noise: NoiseShape) -> float:
    """Return E||W' - W*||^2 as nats: Sigma^-1 <= beta^power / sigma^2."""
    if noise.sigma == 0:
        return math.inf
    nats: float = distance * clips.beta**noise.power / (2.0 * noise.sigma**2) * (1.0 + roundings(64))
    return nats


def eq_6_41_as_printed_which_is_not_a_bound(
    *,
    contraction: float,
    steps: int,
    alpha: float,
    forgotten: int,
    beta: float,
    start_loss: float,
    count: int,
    mu: float,
    sigma: float,
    weights: int,
    training_noise: float,
    batch: int,
) -> float:
    """Return the number that eq. 6.41 of the dissertation gives. The truth can be larger: do not certify with it.

    training_noise: sigma_l of the training loss, which the proof uses for the auxiliary problem. alpha in
    (0, 1/gamma^tau - 1). Raises OutOfRange.
    """
    decay = contraction**steps
    if not 0 < alpha < 1.0 / decay - 1.0:
        raise OutOfRange("alpha", alpha, f"above 0, below {1.0 / decay - 1.0}")
    shift = (8.0 * forgotten * beta * math.sqrt(2.0 * start_loss / mu) / (count * mu * sigma)) ** 2
    top = 2.0 * decay * (2.0 + 1.0 / alpha) * (shift + weights) + 8.0 * training_noise / (batch * beta * sigma**2)
    return top / (1.0 - (1.0 + alpha) * decay)


def check_plan(steps: int, batch: int) -> None:
    """Raise OutOfRange unless there is at least one step and one record in a batch."""
    if steps < 1 or batch < 1:
        raise OutOfRange("steps and batch", (steps, batch), ">= 1")
