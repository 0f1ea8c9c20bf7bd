"""Small ridge problems in float64 whose exact answers dense algebra gives."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor


@dataclass(frozen=True)
class Ridge:
    """phi (n, p, d): p rows per record (1 shared, C per output); targets (n, p, q)."""

    phi: Tensor
    targets: Tensor
    mu: float

    @property
    def gram(self) -> Tensor:
        return torch.einsum("npd,npe->de", self.phi, self.phi)

    @property
    def cross(self) -> Tensor:
        return torch.einsum("npd,npq->dq", self.phi, self.targets)

    @property
    def hessian(self) -> Tensor:
        return self.gram / len(self.phi) + self.mu * torch.eye(self.phi.shape[2], dtype=torch.float64)

    @property
    def weights(self) -> Tensor:
        return torch.linalg.solve(self.hessian, self.cross / len(self.phi))

    def gradient(self, weights: Tensor) -> Tensor:
        return self.hessian @ weights - self.cross / len(self.phi)

    def without(self, record: int) -> "Ridge":
        kept = torch.arange(len(self.phi)) != record
        return Ridge(self.phi[kept], self.targets[kept], self.mu)


@pytest.fixture(scope="session")
def ridge() -> Callable[..., Ridge]:
    """A function (n, d, q, rows, mu, seed) -> Ridge with Gaussian features, their columns of falling size."""

    def make(n: int = 30, d: int = 5, q: int = 3, rows: int = 1, mu: float = 0.05, seed: int = 0) -> Ridge:
        generator = torch.Generator().manual_seed(seed)
        scales = torch.logspace(0, -1.5, d, dtype=torch.float64)
        phi = torch.randn((n, rows, d), generator=generator, dtype=torch.float64) * scales
        return Ridge(phi, torch.randn((n, rows, q), generator=generator, dtype=torch.float64), mu)

    return make


@pytest.fixture(scope="session")
def hessian_power() -> Callable[[Tensor, float], Tensor]:
    """A function (H, p) -> H^p by eigenvectors."""

    def power(hessian: Tensor, exponent: float) -> Tensor:
        values, vectors = torch.linalg.eigh(hessian)
        return (vectors * values.pow(exponent)) @ vectors.mT

    return power


@pytest.fixture(scope="session")
def dense_kl() -> Callable[[Tensor, Tensor, Tensor, Tensor], float]:
    """A function (w, Sigma, w', Sigma') -> KL(N(w, Sigma) || N(w', Sigma')) summed over the columns of w."""

    def kl(mean: Tensor, covariance: Tensor, mean2: Tensor, covariance2: Tensor) -> float:
        d, q = mean.shape
        inverse = torch.linalg.inv(covariance2)
        moved = mean2 - mean
        quadratic = float((moved * (inverse @ moved)).sum())
        spread = float((inverse @ covariance).trace()) - d
        return 0.5 * (quadratic + q * (spread + float(covariance2.logdet() - covariance.logdet())))

    return kl
