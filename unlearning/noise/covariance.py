"""The three covariances of the noise and how each is drawn from the Hessian H (d, d) of the retained loss.

Every column of the weights (d, q) gets its own independent draw with covariance sigma^2 H^-power. sigma is public and
fixed at registration: a sigma chosen from the forgotten records would tell about them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from unlearning.bounds.noise_shape import INVERSE_HESSIAN, ISOTROPIC, ROOT, NoiseShape, check_noise
from unlearning.errors import BoundRefused, NonFinite, OutOfRange, ShapeMismatch
from unlearning.noise.gaussian import RandomBytes, standard_normals


class Covariance(NoiseShape, Protocol):
    """A noise shape that can be drawn."""

    def draw(self, hessian: Tensor, columns: int, random: RandomBytes) -> Tensor:
        """Return noise (d, columns), float64, independent of everything but `hessian` and `random`."""


@dataclass(frozen=True, slots=True)
class Isotropic:
    """Sigma = sigma^2 I: dissertation, eq. 6.13, whose sigma^2 must read sigma. Only the size of H is used."""

    sigma: float

    def __post_init__(self) -> None:
        """Raise OutOfRange unless sigma is finite and >= 0."""
        check_noise(self)

    @property
    def power(self) -> float:
        """See `bounds.noise_shape`."""
        return ISOTROPIC

    def draw(self, hessian: Tensor, columns: int, random: RandomBytes) -> Tensor:
        """Return sigma eps. Raises ShapeMismatch; NonFinite."""
        check_hessian(hessian)
        return self.sigma * standard_normals((hessian.shape[0], columns), random)


@dataclass(frozen=True, slots=True)
class InverseHessian:
    """Sigma = sigma^2 H^-1: much noise where the data say little, little where they say much."""

    sigma: float

    def __post_init__(self) -> None:
        """Raise OutOfRange unless sigma is finite and >= 0."""
        check_noise(self)

    @property
    def power(self) -> float:
        """See `bounds.noise_shape`."""
        return INVERSE_HESSIAN

    def draw(self, hessian: Tensor, columns: int, random: RandomBytes) -> Tensor:
        """Return sigma L^-T eps with H = L L^T. Raises ShapeMismatch; NonFinite; BoundRefused: H is not positive."""
        check_hessian(hessian)
        factor, failed_at = torch.linalg.cholesky_ex(hessian)
        if int(failed_at):
            reason = f"the noise has no covariance: Cholesky met a negative pivot at column {int(failed_at)}"
            raise BoundRefused(float("inf"), float("inf"), float("inf"), reason)
        eps = standard_normals((hessian.shape[0], columns), random)
        noise: Tensor = self.sigma * torch.linalg.solve_triangular(factor.mT, eps, upper=True)
        return noise


@dataclass(frozen=True, slots=True)
class RootInverseHessian:
    """Sigma = sigma^2 H^-1/2: dissertation, Proposition 4, with sigma^2 = sqrt(lambda) sigma_h.

    It minimises 1/2 tr(H Sigma) + lambda/2 tr(Sigma^-1 Sigma_h), loss against nats, when the error Sigma_h =
    sigma_h^2 I of the weights is isotropic: the derivative vanishes where Sigma H Sigma = lambda Sigma_h.
    """

    sigma: float

    def __post_init__(self) -> None:
        """Raise OutOfRange unless sigma is finite and >= 0."""
        check_noise(self)

    @property
    def power(self) -> float:
        """See `bounds.noise_shape`."""
        return ROOT

    def draw(self, hessian: Tensor, columns: int, random: RandomBytes) -> Tensor:
        """Return sigma V l^-1/4 eps with H = V diag(l) V^T. Raises ShapeMismatch; NonFinite; BoundRefused."""
        check_hessian(hessian)
        values, vectors = torch.linalg.eigh(hessian)
        if float(values[0]) <= 0:
            reason = (
                f"the noise has no covariance: the Hessian's smallest eigenvalue came out as {float(values[0]):.3e}"
            )
            raise BoundRefused(float("inf"), float("inf"), float("inf"), reason)
        eps = standard_normals((hessian.shape[0], columns), random)
        noise: Tensor = self.sigma * (vectors * values.pow(-0.25)) @ eps
        return noise


KINDS: dict[str, Callable[[float], Covariance]] = {
    "isotropic": Isotropic,
    "inverse_hessian": InverseHessian,
    "root_inverse_hessian": RootInverseHessian,
}
"""Names for registration."""


def covariance_named(kind: str, sigma: float) -> Covariance:
    """Return the covariance of that name. Raises OutOfRange: an unknown name, a bad sigma."""
    if kind not in KINDS:
        raise OutOfRange("noise", kind, ", ".join(KINDS))
    return KINDS[kind](sigma)


def check_hessian(hessian: Tensor) -> None:
    """Raise ShapeMismatch or NonFinite unless `hessian` is a finite square float64 matrix."""
    square = hessian.ndim == 2 and hessian.shape[0] == hessian.shape[1] and hessian.shape[0] > 0
    if not square or hessian.dtype != torch.float64:
        raise ShapeMismatch("hessian", (tuple(hessian.shape), hessian.dtype), "a square matrix in float64")
    broken = int((~torch.isfinite(hessian)).sum())
    if broken:
        raise NonFinite("hessian", broken)
