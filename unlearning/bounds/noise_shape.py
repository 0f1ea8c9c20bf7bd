"""What a bound has to know of the noise: Sigma = sigma^2 H^-power, H the Hessian of the retained loss."""

import math
from typing import Protocol

from unlearning.errors import OutOfRange

ISOTROPIC = 0.0
ROOT = 0.5
INVERSE_HESSIAN = 1.0
POWERS = (ISOTROPIC, ROOT, INVERSE_HESSIAN)


class NoiseShape(Protocol):
    """Noise of covariance sigma^2 H^-power for each of the q columns of the weights, columns independent."""

    @property
    def sigma(self) -> float:
        """Scale, >= 0; zero means no noise."""

    @property
    def power(self) -> float:
        """0 isotropic, 1/2 for B^-1/2 (dissertation, Proposition 4), 1 inverse Hessian."""


def check_noise(noise: NoiseShape) -> None:
    """Raise OutOfRange unless sigma is finite and >= 0 and the power is one of POWERS."""
    if not (noise.sigma >= 0 and math.isfinite(noise.sigma)):
        raise OutOfRange("sigma", noise.sigma, "finite and >= 0")
    if noise.power not in POWERS:
        raise OutOfRange("power of the Hessian in the noise", noise.power, ", ".join(map(str, POWERS)))


def check_mu(mu: float) -> None:
    """Raise OutOfRange unless mu is positive and finite."""
    if not (mu > 0 and math.isfinite(mu)):
        raise OutOfRange("mu", mu, "> 0")
