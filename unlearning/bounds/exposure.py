"""Differencing exposure: what one published version tells about each record that is in it, in nats.

Somebody who knows all other records compares the version with the one that would have been published without record i:

    exposure(i) = KL( N(W, Sigma) || N(W_-i, Sigma_-i) ),        Sigma = sigma^2 H^-power, power 0 or 1,

trace and log-det terms included. All records cost one eigendecomposition and O(n d^2), through leverages. With
H = S/s for S = A + ridge, and without the record H' = (T - P^T P)/s', P its p rows of Phi (1 shared, C per output):

    ScaledRidge   S = A + n mu,  s = n,   T = A + (n-1) mu,  s' = n-1
    FixedRidge    S = A + rho,   s = 1,   T = S,             s' = 1

Under ScaledRidge the ridge changes with n, so losing a record is not a change of low rank; under FixedRidge it is.
In the eigenvectors of A, S and T are diagonal. With B = P T^-1 P^T, eps = (I - B)^-1 (t - P W_T), W_T = T^-1 cross:

    W - W_-i = D + T^-1 P^T eps,                D = (S^-1 - T^-1) cross, the same for all records
    tr(H' H^-1) - d - log det(H' H^-1) = sum(x - log(1+x)) - log det(I - B) - tr B - sum_j ||P_j||^2 x_j / T_j,
                                        x = s T / (s' S) - 1 = lambda / ((n-1) (lambda + n mu)), or 0.

Written this way nothing large is subtracted from its like. Source: THEORY's definition; the closed forms are derived in
docs/theory.md. The values are data: they are for the operator and are never published.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from unlearning.bounds.noise_shape import INVERSE_HESSIAN, ISOTROPIC, NoiseShape, check_mu, check_noise
from unlearning.errors import BoundRefused, NonFinite, OutOfRange, ShapeMismatch

BLOCK_NUMBERS = 2**22
"""Feature numbers worked on at once: 32 MiB."""
LEAST_FREE = 2.0**-30
"""The smallest eigenvalue of I - B that is trusted; below it rounding decides."""


@dataclass(frozen=True, slots=True)
class ScaledRidge:
    """H = A/n + mu I, the loss of eq. 6.8: in sum form the ridge is n mu."""

    mu: float


@dataclass(frozen=True, slots=True)
class FixedRidge:
    """H = A + rho I in sum form, rho public and the same for every n; sigma is in the same units."""

    rho: float


Ridge = ScaledRidge | FixedRidge


@dataclass(frozen=True, slots=True, eq=False)
class Exposure:
    """A version, ready to be asked about its records; everything in the eigenvectors of A. Made by `prepare`.

    downdated (d,) = T; growth (d,) = x; drift (d, q) = D; weights (d, q) = W_T; scale = s'.
    """

    vectors: Tensor
    downdated: Tensor
    growth: Tensor
    drift: Tensor
    weights: Tensor
    scale: float
    noise: NoiseShape

    def of(self, phi: Tensor, targets: Tensor) -> Tensor:
        """Return the exposure (m,) of m records of this version: phi (m, d) with targets (m, q), or per output
        phi (m, C, d) with targets (m, C), as they went into the statistics; targets are y - f_c.

        Raises ShapeMismatch; NonFinite; BoundRefused: a record so dominant that rounding decides.
        """
        rows, wanted = as_rows(phi, targets, self.vectors.shape[0], self.weights.shape[1])
        if self.noise.sigma == 0:
            return torch.full((rows.shape[0],), math.inf, dtype=torch.float64)
        per_block = max(1, BLOCK_NUMBERS // max(1, rows.shape[1] * rows.shape[2]))
        blocks = zip(torch.split(rows, per_block), torch.split(wanted, per_block), strict=True)
        return torch.cat([self.of_block(*block) for block in blocks]) if len(rows) else torch.zeros(0).double()

    def of_block(self, rows: Tensor, wanted: Tensor) -> Tensor:
        """Return `of` for rows (m, p, d) and wanted (m, p, q)."""
        c = rows @ self.vectors
        scaled = c / self.downdated
        leverage = scaled @ c.mT
        left = torch.eye(c.shape[1], dtype=torch.float64) - leverage
        free = torch.linalg.eigvalsh(left)
        if not float(free.min()) > LEAST_FREE:
            reason = f"a record has leverage 1 - {float(free.min()):.1e}"
            raise BoundRefused(math.inf, math.inf, math.inf, reason)
        eps = torch.linalg.solve(left, wanted - c @ self.weights)
        if self.noise.power == ISOTROPIC:
            moved = self.drift.square().sum() + 2.0 * (eps * (scaled @ self.drift)).sum((1, 2))
            moved = moved + (eps * (scaled @ scaled.mT @ eps)).sum((1, 2))
            shifted: Tensor = moved.clamp_min(0.0) / (2.0 * self.noise.sigma**2)
            return shifted
        seen, lifted = c @ self.drift, leverage @ eps
        energy = (self.drift.square() * self.downdated.unsqueeze(1)).sum()
        energy = energy + (eps * (2.0 * seen + lifted)).sum((1, 2)) - (seen + lifted).square().sum((1, 2))
        shape = (self.growth - self.growth.log1p()).sum() - (free.log() + leverage.diagonal(dim1=1, dim2=2)).sum(1)
        shape = shape - (c.square() * (self.growth / self.downdated)).sum((1, 2))
        nats: Tensor = energy.clamp_min(0.0) / (self.scale * self.noise.sigma**2) + self.drift.shape[
            1
        ] * shape.clamp_min(0.0)
        return 0.5 * nats


def prepare(gram: Tensor, cross: Tensor, count: int, ridge: Ridge, noise: NoiseShape) -> Exposure:
    """Return the exposures of the version with statistics A (d, d), B (d, q), n: one eigendecomposition.

    Raises ShapeMismatch; NonFinite; OutOfRange: fewer than two records, ridge or noise, power 1/2 (no closed form).
    """
    check_noise(noise)
    if noise.power not in (ISOTROPIC, INVERSE_HESSIAN):
        raise OutOfRange("power of the noise", noise.power, "0 or 1: others have no closed form for all records")
    if count < 2:
        raise OutOfRange("count", count, ">= 2: with one record there is no version to compare with")
    check_statistics(gram, cross)
    eigenvalues, vectors = torch.linalg.eigh(gram)
    eigenvalues = eigenvalues.clamp_min(0.0)  # A is positive semidefinite: what lies below zero is rounding
    rotated = vectors.mT @ cross
    if isinstance(ridge, ScaledRidge):
        check_mu(ridge.mu)
        full, downdated, lost, scale = (
            eigenvalues + count * ridge.mu,
            eigenvalues + (count - 1) * ridge.mu,
            ridge.mu,
            count - 1,
        )
        growth = eigenvalues / ((count - 1) * full)
    else:
        check_mu(ridge.rho)
        full = downdated = eigenvalues + ridge.rho
        lost, scale, growth = 0.0, 1, torch.zeros_like(eigenvalues)
    return Exposure(
        vectors=vectors,
        downdated=downdated,
        growth=growth,
        drift=-rotated * (lost / (full * downdated)).unsqueeze(1),
        weights=rotated / downdated.unsqueeze(1),
        scale=float(scale),
        noise=noise,
    )


def as_rows(phi: Tensor, targets: Tensor, width: int, columns: int) -> tuple[Tensor, Tensor]:
    """Return phi as (m, p, d) and targets as (m, p, q). Raises ShapeMismatch; NonFinite."""
    if phi.ndim == 2:
        rows, wanted = phi.unsqueeze(1), targets.unsqueeze(1)
    else:
        rows, wanted = phi, targets.unsqueeze(2)
    if rows.ndim != 3 or rows.shape[2] != width or rows.dtype != torch.float64:
        raise ShapeMismatch("features", (tuple(phi.shape), phi.dtype), f"(m, {width}) or (m, C, {width}) in float64")
    if wanted.shape != (rows.shape[0], rows.shape[1], columns) or wanted.dtype != torch.float64:
        expected = f"one row per record, {columns} columns per row of features, float64"
        raise ShapeMismatch("targets", (tuple(targets.shape), targets.dtype), expected)
    for name, values in (("features", rows), ("targets", wanted)):
        broken = int((~torch.isfinite(values)).sum())
        if broken:
            raise NonFinite(name, broken)
    return rows, wanted


def check_statistics(gram: Tensor, cross: Tensor) -> None:
    """Raise ShapeMismatch or NonFinite unless A is (d, d) and B (d, q), finite, float64."""
    d = gram.shape[0] if gram.ndim == 2 else -1
    if gram.shape != (d, d) or gram.dtype != torch.float64:
        raise ShapeMismatch("gram", (tuple(gram.shape), gram.dtype), "(d, d) in float64")
    if cross.ndim != 2 or cross.shape[0] != d or cross.dtype != torch.float64:
        raise ShapeMismatch("cross", (tuple(cross.shape), cross.dtype), f"({d}, q) in float64")
    for name, values in (("gram", gram), ("cross", cross)):
        broken = int((~torch.isfinite(values)).sum())
        if broken:
            raise NonFinite(name, broken)
