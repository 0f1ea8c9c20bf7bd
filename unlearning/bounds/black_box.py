"""Black-box bound: what all answers to one caller together tell, in nats, at most the white-box value.

Answers to fixed queries with Jacobian J (m, d) are J S, a linear image of the released weights. With a QR of
(J Sigma^1/2)^T = Q R and D = W~ - W*, their divergence is

    1/2 ||R^-T J D||^2 = 1/2 ||Q^T Sigma^-1/2 D||^2:

the part of the white-box distance that the queries can see. Two shortcuts are wrong. Adding per-query values is no
bound: two nearly equal queries each show nothing of a difference that their own difference shows in full. And a
pseudo-inverse of J Sigma J^T drops small singular values, which is just that difference. Queries that are linearly
dependent to rounding, or that were chosen after seeing answers, get the white-box value.
Source: dissertation, Proposition 5 (eq. 3.7), with the factor 1/2 and joint over queries.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from unlearning.bounds.noise_shape import INVERSE_HESSIAN, ISOTROPIC, NoiseShape
from unlearning.bounds.white_box import KLBound, white_box
from unlearning.errors import NonFinite, ShapeMismatch
from unlearning.residual import gamma

DEPENDENT = 2.0**-40
"""A singular value below this share of the largest makes the queries count as dependent."""


@dataclass(frozen=True, slots=True)
class BlackBoxBound:
    """bound: in nats; joint: whether it is about the queries, or only the white-box value."""

    bound: KLBound
    joint: bool


def black_box(
    jacobian: Tensor,
    hessian: Tensor,
    residual: Tensor,
    noise: NoiseShape,
    *,
    mu: float,
    adaptive: bool,
    residual_error: float = 0.0,
    hessian_error: float = 0.0,
) -> BlackBoxBound:
    """Bound all queries of one caller at once. jacobian (m, d): phi(x) for shared maps, C rows per x per output.

    The other arguments are those of `white_box`. adaptive: whether a query may depend on earlier answers.
    Raises: as `white_box`; ShapeMismatch or NonFinite for the Jacobian.
    """
    white = white_box(hessian, residual, noise, mu=mu, residual_error=residual_error, hessian_error=hessian_error)
    check_jacobian(jacobian, hessian.shape[0])
    if jacobian.shape[0] == 0:
        return BlackBoxBound(KLBound(0.0, 0.0), joint=True)
    if adaptive or math.isinf(white.nats) or jacobian.shape[0] > jacobian.shape[1]:
        return BlackBoxBound(white, joint=False)
    image, distance = in_units_of_noise(jacobian, hessian, residual, noise)
    basis, triangle = torch.linalg.qr(image)
    singular = torch.linalg.svdvals(triangle)
    if not float(singular[-1]) > DEPENDENT * float(singular[0]):
        return BlackBoxBound(white, joint=False)
    seen = float(torch.linalg.norm(basis.mT @ distance))
    whole = math.sqrt(2.0 * white.nats)
    # Rounding turns the subspace of Q by at most the backward error over the smallest singular value: that of QR
    # (Higham 2002, theorem 19.4), and that of the factor of H, relative to H at most tr(H)/mu roundings. What the
    # white-box value adds for its own float error is added here in full.
    from_factor = 0.0 if noise.power == ISOTROPIC else float(hessian.trace()) / mu
    backward = gamma(8 * jacobian.numel()) * (1.0 + from_factor) * float(singular.norm()) / float(singular[-1])
    own_error = whole - math.sqrt(2.0 * white.computed)
    nats = 0.5 * (seen + backward * whole + own_error) ** 2 * (1.0 + gamma(16))
    if not nats < white.nats:
        return BlackBoxBound(white, joint=False)
    return BlackBoxBound(KLBound(nats, 0.5 * seen * seen), joint=True)


def in_units_of_noise(jacobian: Tensor, hessian: Tensor, residual: Tensor, noise: NoiseShape) -> tuple[Tensor, Tensor]:
    """Return (J Sigma^1/2)^T (d, m) and Sigma^-1/2 D (d, q) for one and the same root of Sigma; sigma > 0."""
    if noise.power == ISOTROPIC:
        moved = torch.cholesky_solve(residual, torch.linalg.cholesky(hessian))
        return noise.sigma * jacobian.mT, moved / noise.sigma
    if noise.power == INVERSE_HESSIAN:
        factor = torch.linalg.cholesky(hessian)  # Sigma^1/2 = sigma L^-T, so Sigma^-1/2 H^-1 r = L^-1 r / sigma
        both = torch.linalg.solve_triangular(factor, torch.cat([jacobian.mT, residual], dim=1), upper=False)
        queries = jacobian.shape[0]
        return noise.sigma * both[:, :queries], both[:, queries:] / noise.sigma
    values, vectors = torch.linalg.eigh(hessian)
    half = values.pow(noise.power / 2.0).unsqueeze(1)
    return (
        noise.sigma * (vectors.mT @ jacobian.mT) / half,
        half * ((vectors.mT @ residual) / values.unsqueeze(1)) / noise.sigma,
    )


def check_jacobian(jacobian: Tensor, width: int) -> None:
    """Raise ShapeMismatch or NonFinite unless the Jacobian is (m, width), finite, float64."""
    if jacobian.ndim != 2 or jacobian.shape[1] != width or jacobian.dtype != torch.float64:
        raise ShapeMismatch("jacobian", (tuple(jacobian.shape), jacobian.dtype), f"(m, {width}) in float64")
    broken = int((~torch.isfinite(jacobian)).sum())
    if broken:
        raise NonFinite("jacobian", broken)
