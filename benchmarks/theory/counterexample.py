"""Where eq. 6.41 of the dissertation falls below the truth, in closed form.

Run: `python -m benchmarks.theory.counterexample`.

One weight per record's feature: phi^2 is 0 or 1, targets 0.02 phi, mu = 1, forgetting one record at a time. Stochastic
gradient descent on the auxiliary problem (eq. 6.11) is a linear recursion with random coefficients, so the first two
moments of its error follow exactly; no sampling is needed. The proof of Theorem 3 takes for the noise of that descent
the constant of the training loss, which is nearly zero here because every record is nearly fitted at w = 0.02. But the
auxiliary problem starts at noised weights: its gradients disagree by (H_i - H) z, and that does not fade with steps.
"""

from dataclasses import dataclass

import numpy as np
import torch

from unlearning.bounds.a_priori import (
    PublicClips,
    auxiliary_noise,
    eq_6_41_as_printed_which_is_not_a_bound,
    one_request,
    sequence,
)
from unlearning.noise.covariance import Isotropic

MU = 1.0
TARGET = 0.02
CLIPS = PublicClips(feature_norm=1.0, target_norm=TARGET, mu=MU)


@dataclass(frozen=True)
class Figures:
    """In nats per request: the truth, the corrected bounds from a known start and from constants alone, eq. 6.41."""

    truth: float
    corrected: float
    beforehand: float
    printed: float


def records(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return phi and targets: every other record has a feature."""
    phi = np.arange(count) % 2.0
    return phi, TARGET * phi


def training_noise(phi: np.ndarray, target: np.ndarray) -> float:
    """Return sigma_l of the training loss: L(w*) - mean_i min l_i."""
    best = (phi @ target) / (phi @ phi + len(phi) * MU)
    losses = 0.5 * (phi * best - target) ** 2 + 0.5 * MU * best**2
    return float(np.mean(losses - 0.5 * target**2 * MU / (phi**2 + MU)))


def moments_of_sgd(phi: np.ndarray, steps: int, batch: int) -> tuple[float, float]:
    """Return E(v_tau - v*) / v* and E(v_tau - v*)^2 / v*^2 for descent from v = 0 on the auxiliary problem.

    The error obeys e' = (1 - a h_B) e - a (h_B - h) v*, with h_B the mean of phi_i^2 + mu over the batch.
    """
    curvature = phi**2 + MU
    h, variance, a = curvature.mean(), curvature.var() / batch, CLIPS.step
    mean, square = -1.0, 1.0
    for _ in range(steps):
        square = ((1 - a * h) ** 2 + a * a * variance) * square + a * a * variance * (2 * mean + 1)
        mean = (1 - a * h) * mean
    return mean, square


def simulate_sgd(phi: np.ndarray, steps: int, batch: int, runs: int, seed: int) -> np.ndarray:
    """Return (v_tau - v*) / v* of `runs` descents that draw their batches."""
    generator = np.random.default_rng(seed)
    curvature = phi**2 + MU
    v = np.zeros(runs)
    for _ in range(steps):
        drawn = curvature[generator.integers(0, len(phi), (runs, batch))].mean(1)
        v -= CLIPS.step * (drawn * v - curvature.mean())
    return v - 1.0


def figures(
    *, count: int = 1000, request: int = 2, steps: int = 60, batch: int = 16, sigma: float = 1.0, alpha: float = 1.0
) -> Figures:
    """Return the figures of the given request in a sequence of single deletions, from the exact minimiser on."""
    phi, target = records(count)
    best = (phi @ target) / (phi @ phi + count * MU)
    noise_level = training_noise(phi, target)
    mean, square, distance = 0.0, 0.0, 0.0  # of W'_0 - W*_0
    for done in range(1, request + 1):
        kept, kept_target = phi[:-done], target[:-done]
        next_best = (kept @ kept_target) / (kept @ kept + len(kept) * MU)
        drift = best - next_best
        distance = square + 2 * mean * drift + drift**2 + sigma**2  # E(W_{j-1} - W*_j)^2, noise included
        first, second = moments_of_sgd(kept, steps, batch)
        mean, square = -first * (mean + drift), second * distance
        best = next_best
        noise_level = max(noise_level, training_noise(kept, kept_target))
    noise = Isotropic(sigma)
    gradient = float(np.mean(kept**2) + MU) * distance**0.5  # its root mean square; the bound is linear in the square
    rows = torch.from_numpy(kept).reshape(-1, 1, 1)
    disagreement = auxiliary_noise(rows, torch.tensor([[gradient]], dtype=torch.float64), MU)
    return Figures(
        truth=square / (2 * sigma**2),
        corrected=one_request(
            CLIPS, noise, gradient_norm=gradient, steps=steps, batch=batch, noise_of_steps=disagreement
        ),
        beforehand=sequence(
            CLIPS, noise, count=count, forgotten=1, requests=request, steps=steps, batch=batch, weights=1
        )[-1],
        printed=eq_6_41_as_printed_which_is_not_a_bound(
            contraction=CLIPS.contraction,
            steps=steps,
            alpha=alpha,
            forgotten=1,
            beta=CLIPS.beta,
            start_loss=CLIPS.largest_start_loss,
            count=count,
            mu=MU,
            sigma=sigma,
            weights=1,
            training_noise=noise_level,
            batch=batch,
        ),
    )


def main() -> None:
    """Print the figures over steps and over noise."""
    print("nats of the second request   truth      corrected  beforehand  eq. 6.41 as printed")
    for steps, sigma in ((10, 1.0), (30, 1.0), (60, 1.0), (120, 1.0), (60, 0.1), (60, 10.0)):
        row = figures(steps=steps, sigma=sigma)
        values = "  ".join(f"{value:9.2e}" for value in (row.truth, row.corrected, row.beforehand, row.printed))
        print(f"steps {steps:4d}  sigma {sigma:5.1f}    {values}")


if __name__ == "__main__":
    main()
