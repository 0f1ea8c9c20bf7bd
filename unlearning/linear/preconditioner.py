"""Approximate inverses of the Hessian, from core (public) data, that make conjugate gradients need fewer iterations.

A preconditioner changes how fast a solver arrives, never where: the residual is measured without it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from unlearning.errors import OutOfRange, ShapeMismatch
from unlearning.linear.features import Features, check_matrix
from unlearning.linear.problem import check_mu

SHIFT = 2.0**-40
"""Relative shift that keeps the sketch's Cholesky factor positive definite."""


class Preconditioner(Protocol):
    """A symmetric positive definite matrix close to the Hessian, up to a factor."""

    def solve(self, residual: Tensor) -> Tensor:
        """Return P^-1 r, (d, q)."""


@dataclass(frozen=True, slots=True)
class Identity:
    """No preconditioning."""

    def solve(self, residual: Tensor) -> Tensor:
        """Return r."""
        return residual


@dataclass(frozen=True, slots=True, eq=False)
class LowRank:
    """P = U (S + mu) U^T + (s_min + mu) (I - U U^T), with vectors U (d, r) and values S (r,) of A/n, descending.

    Source: Frangella, Tropp and Udell 2023, "Randomized Nystrom preconditioning", eq. 1.3 (up to a factor). What U does
    not span is taken to have the smallest value kept.
    """

    vectors: Tensor
    values: Tensor
    mu: float

    def __post_init__(self) -> None:
        """Raise OutOfRange: mu, a negative value; ShapeMismatch; NonFinite."""
        check_mu(self.mu)
        check_matrix("eigenvectors", self.vectors, dimensions=2)
        check_matrix("eigenvalues", self.values, dimensions=1)
        if self.values.shape[0] != self.vectors.shape[1] or not self.values.numel():
            raise ShapeMismatch("eigenvalues", tuple(self.values.shape), (self.vectors.shape[1],))
        if float(self.values.min()) < 0:
            raise OutOfRange("eigenvalue", float(self.values.min()), ">= 0")

    def solve(self, residual: Tensor) -> Tensor:
        """Return P^-1 r."""
        outside = float(self.values[-1]) + self.mu
        factors = (1.0 / (self.values + self.mu) - 1.0 / outside).unsqueeze(1)
        return self.vectors @ (factors * (self.vectors.mT @ residual)) + residual / outside


def top_eigenpairs(second_moment: Tensor, mu: float, rank: int) -> LowRank:
    """Return the preconditioner of the `rank` largest eigenpairs of core A/n (d, d), for widths whose matrix fits.

    Raises OutOfRange: rank outside 1 to d, mu; ShapeMismatch, NonFinite.
    """
    check_matrix("second moment", second_moment, dimensions=2)
    check_rank(rank, second_moment.shape[0])
    values, vectors = eigenpairs("second moment", second_moment)
    return LowRank(vectors.flip(1)[:, :rank].contiguous(), values.flip(0)[:rank], mu)


def random_nystrom(
    multiply: Callable[[Tensor], Tensor], width: int, mu: float, rank: int, generator: torch.Generator
) -> LowRank:
    """Return approximate eigenpairs of A/n (d, d), d = `width`, from one product of it with `rank` columns.

    `multiply` takes (d, r) to A/n times it; `moment_product` makes one from features.
    Source: Frangella, Tropp and Udell 2023, algorithm 2.1: Y = A O for a random orthonormal O, shifted by a little.
    Raises OutOfRange: rank outside 1 to d, mu.
    """
    check_mu(mu)
    check_rank(rank, width)
    test = torch.randn(width, rank, dtype=torch.float64, generator=generator)
    test, _ = torch.linalg.qr(test)
    sketch = multiply(test)
    shift = SHIFT * max(float(torch.linalg.norm(sketch)), mu)
    sketch = sketch + shift * test
    inner = test.mT @ sketch
    factor, failed_at = torch.linalg.cholesky_ex(0.5 * (inner + inner.mT))
    if int(failed_at):
        raise OutOfRange("rank of the preconditioner", rank, f"less than {int(failed_at)}, the rank of the matrix")
    root = torch.linalg.solve_triangular(factor, sketch.mT, upper=False)
    vectors, singular, _ = torch.linalg.svd(root.mT, full_matrices=False)
    return LowRank(vectors, (singular.square() - shift).clamp_min(0.0), mu)


def check_rank(rank: int, d: int) -> None:
    """Raise OutOfRange unless the rank is 1 to d."""
    if not 1 <= rank <= d:
        raise OutOfRange("rank of the preconditioner", rank, f"1 to {d}")


def moment_product(features: Features) -> Callable[[Tensor], Tensor]:
    """Return the function V (d, r) -> Phi^T Phi V / n, column blocks of at most q at a time.

    Raises OutOfRange: no records.
    """
    d, q = features.weight_shape
    if features.count < 1:
        raise OutOfRange("records", features.count, ">= 1")

    def multiply(columns: Tensor) -> Tensor:
        done = []
        for block in torch.split(columns, q, dim=1):
            padded = torch.zeros(d, q, dtype=torch.float64)
            padded[:, : block.shape[1]] = block
            done.append(features.adjoint(features.apply(padded))[:, : block.shape[1]])
        return torch.cat(done, dim=1) / features.count

    return multiply


@dataclass(frozen=True, slots=True, eq=False)
class KroneckerBlock:
    """The factors of one layer's Fisher matrix over core records: output (o, o) and input (i, i), both symmetric.

    It covers o * i parameters from `first` on, in the order of the layer's weight (o, i) row by row.
    Source: Martens and Grosse 2015, eq. 1: F = E[a a^T] (x) E[g g^T], here with the output's index outermost.
    """

    first: int
    output: Tensor
    input: Tensor

    @property
    def size(self) -> int:
        """o * i."""
        return int(self.output.shape[0] * self.input.shape[0])


class Kronecker:
    """P = blocks of (output (x) input) + mu I, inverted exactly by the factors' eigenvectors; the rest is mu I.

    For the tangent map, whose parameters are the weights of layers; parameters that no block covers, such as biases,
    get `rest` + mu, for instance their mean square derivative on core records.
    """

    def __init__(self, blocks: Sequence[KroneckerBlock], mu: float, rest: float = 0.0) -> None:
        """Decompose the factors. Raises OutOfRange: mu, rest, overlapping blocks; ShapeMismatch; NonFinite."""
        check_mu(mu)
        if not rest >= 0:
            raise OutOfRange("rest of the preconditioner", rest, ">= 0")
        self._rest = rest + mu
        self._mu = mu
        self._blocks: list[tuple[int, Tensor, Tensor, Tensor]] = []
        free = 0
        for block in sorted(blocks, key=lambda block: block.first):
            if block.first < free:
                raise OutOfRange("first parameter of a block", block.first, f">= {free}, blocks may not overlap")
            free = block.first + block.size
            (s, U), (t, V) = eigenpairs("output factor", block.output), eigenpairs("input factor", block.input)
            self._blocks.append((block.first, U, V, torch.outer(s, t) + mu))
        self._covered = free

    def solve(self, residual: Tensor) -> Tensor:
        """Return P^-1 r, column by column. Raises ShapeMismatch: fewer parameters than the blocks cover."""
        if residual.shape[0] < self._covered:
            raise ShapeMismatch("parameters", residual.shape[0], f">= {self._covered}")
        answer = residual / self._rest
        for first, U, V, values in self._blocks:
            rows = slice(first, first + values.numel())
            shaped = residual[rows].mT.reshape(-1, *values.shape)
            inside = (U.mT @ shaped @ V) / values
            answer[rows] = (U @ inside @ V.mT).flatten(1).mT
        return answer


def eigenpairs(name: str, factor: Tensor) -> tuple[Tensor, Tensor]:
    """Return non-negative eigenvalues and eigenvectors. Raises ShapeMismatch, NonFinite."""
    check_matrix(name, factor, dimensions=2)
    if factor.shape[0] != factor.shape[1]:
        raise ShapeMismatch(name, tuple(factor.shape), "square")
    values, vectors = torch.linalg.eigh(0.5 * (factor + factor.mT))
    return values.clamp_min(0.0), vectors
