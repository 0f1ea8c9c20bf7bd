"""Reproducible bytes in place of the service's cryptographic source, and a small Hessian."""

import random
from collections.abc import Callable

import pytest
import torch
from torch import Tensor


@pytest.fixture
def seeded_bytes() -> Callable[[int], Callable[[int], bytes]]:
    """A function seed -> (n -> n bytes), the same bytes for the same seed."""

    def source(seed: int) -> Callable[[int], bytes]:
        return random.Random(seed).randbytes

    return source


@pytest.fixture(scope="session")
def hessian() -> Tensor:
    """H (4, 4) with eigenvalues 3, 1, 0.2, 0.05 in a random basis."""
    basis = torch.linalg.qr(torch.randn((4, 4), generator=torch.Generator().manual_seed(5), dtype=torch.float64))[0]
    return (basis * torch.tensor([3.0, 1.0, 0.2, 0.05], dtype=torch.float64)) @ basis.mT


@pytest.fixture(scope="session")
def hessian_power() -> Callable[[Tensor, float], Tensor]:
    """A function (H, p) -> H^p by eigenvectors."""

    def power(matrix: Tensor, exponent: float) -> Tensor:
        values, vectors = torch.linalg.eigh(matrix)
        return (vectors * values.pow(exponent)) @ vectors.mT

    return power
