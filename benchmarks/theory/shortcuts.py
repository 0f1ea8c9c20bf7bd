"""What goes wrong when a bound is taken a shorter way. Run: `python -m benchmarks.theory.shortcuts`.

Figures for docs/theory.md: adding per-query values, pseudo-inverses, a sigma that depends on what was forgotten, and
what differencing one version tells under each noise.
"""

import math

import torch

from unlearning.bounds.black_box import black_box
from unlearning.bounds.exposure import ScaledRidge, prepare
from unlearning.noise.covariance import Covariance, InverseHessian, Isotropic


def nearly_equal_queries(apart: float = 1e-8) -> tuple[float, float, float]:
    """Return nats of two queries: jointly, added one by one, by a pseudo-inverse. H = Sigma = I, distance sqrt(2)."""
    jacobian = torch.tensor([[1.0, 0.0], [1.0, apart]], dtype=torch.float64)
    distance = torch.tensor([[0.0], [math.sqrt(2.0)]], dtype=torch.float64)
    identity = torch.eye(2, dtype=torch.float64)

    def nats(rows: torch.Tensor) -> float:
        return black_box(rows, identity, distance, Isotropic(1.0), mu=1.0, adaptive=False).bound.computed

    moved = jacobian @ distance
    pseudo = 0.5 * float((moved * (torch.linalg.pinv(jacobian @ jacobian.mT) @ moved)).sum())
    return nats(jacobian), nats(jacobian[:1]) + nats(jacobian[1:]), pseudo


def sigma_from_the_forgotten(off: float = 0.05, coordinates: int = 2560) -> float:
    """Return KL(N(0, (1+off)^2 I) || N(0, I)): what a sigma chosen from the forgotten records tells by itself."""
    ratio = (1.0 + off) ** 2
    return 0.5 * coordinates * (ratio - 1.0 - math.log(ratio))


def worst_exposure(noise: Covariance, count: int, width: int = 64, outputs: int = 10, mu: float = 1e-2) -> float:
    """Return the largest exposure of one version of random records whose columns differ in size by 30."""
    generator = torch.Generator().manual_seed(0)
    phi = torch.randn((count, width), generator=generator, dtype=torch.float64)
    phi = phi * torch.logspace(0, -1.5, width, dtype=torch.float64)
    targets = torch.randn((count, outputs), generator=generator, dtype=torch.float64)
    version = prepare(phi.mT @ phi, phi.mT @ targets, count, ScaledRidge(mu), noise)
    return float(version.of(phi, targets).max())


def main() -> None:
    """Print the figures."""
    joint, added, pseudo = nearly_equal_queries()
    print(f"two nearly equal queries: jointly {joint:.3f} nats, added {added:.1e}, by a pseudo-inverse {pseudo:.1e}")
    print(f"sigma 5 % off, 2,560 coordinates: {sigma_from_the_forgotten():.2f} nats")
    for count in (1000, 10_000):
        shaped, flat = (worst_exposure(kind(0.1), count) for kind in (InverseHessian, Isotropic))
        print(f"{count:6d} records, sigma 0.1: worst exposure {shaped:.2e} inverse-Hessian, {flat:.2e} isotropic")


if __name__ == "__main__":
    main()
