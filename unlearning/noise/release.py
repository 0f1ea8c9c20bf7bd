"""Published weights lie on a fixed public grid, so their low bits say nothing about the numbers they came from.

Float addition leaves traces: the last bits of fl(w + z) depend on w in ways that a continuous normal law does not
(Mironov 2012, "On significance of the least significant bits for differential privacy"). Rounding to multiples of a
public step, far coarser than those bits and far finer than the noise, and clipping to a public limit, are functions of
the sum alone; by data processing they cannot raise any bound.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from unlearning.bounds.noise_shape import NoiseShape, check_mu, check_noise
from unlearning.errors import NonFinite, OutOfRange, ShapeMismatch

FINER = 2.0**-16
"""The step is at most this share of the smallest standard deviation: it adds 1e-10 of the noise's variance."""
LEVELS = 2.0**44
"""The limit is this many steps, so float64 sums keep eight bits below the step (2^52 / 2^44)."""


@dataclass(frozen=True, slots=True)
class ReleaseGrid:
    """step: a power of two; limit: a multiple of it. Both public, from constants of the registration."""

    step: float
    limit: float

    def __post_init__(self) -> None:
        """Raise OutOfRange unless step is a power of two and limit a multiple of at most LEVELS steps."""
        fine = self.step > 0 and math.isfinite(self.step) and math.frexp(self.step)[0] == 0.5
        if not fine:
            raise OutOfRange("step", self.step, "a power of two")
        levels = self.limit / self.step
        if not (1 <= levels <= LEVELS and levels == math.floor(levels)):
            raise OutOfRange("limit", self.limit, f"1 to {LEVELS:g} whole steps")

    def release(self, weights: Tensor) -> Tensor:
        """Return the weights that may be published: nearest grid points, clipped, the sign of zero removed.

        Raises ShapeMismatch: not float64; NonFinite.
        """
        if weights.dtype != torch.float64:
            raise ShapeMismatch("dtype of the weights", weights.dtype, torch.float64)
        broken = int((~torch.isfinite(weights)).sum())
        if broken:
            raise NonFinite("weights to publish", broken)
        levels = torch.round(weights / self.step).clamp(-self.limit / self.step, self.limit / self.step)
        return levels * self.step + 0.0


def grid_for(noise: NoiseShape, *, mu: float, largest_eigenvalue: float) -> ReleaseGrid:
    """Return the grid of a registration. `largest_eigenvalue` bounds H's, from the public clips (feature norm^2 + mu).

    The smallest standard deviation of any direction of the noise is then sigma / largest_eigenvalue^(power/2).
    Raises OutOfRange: no noise, mu or the eigenvalue not positive.
    """
    check_mu(mu)
    check_noise(noise)
    if noise.sigma == 0:
        raise OutOfRange("sigma", noise.sigma, "> 0: without noise weights are published as they are")
    if not (largest_eigenvalue >= mu and math.isfinite(largest_eigenvalue)):
        raise OutOfRange("largest eigenvalue", largest_eigenvalue, f">= mu = {mu}")
    smallest = noise.sigma / largest_eigenvalue ** (noise.power / 2.0)
    step = 2.0 ** math.floor(math.log2(smallest * FINER))
    return ReleaseGrid(step, step * LEVELS)
