"""The features Phi of n records as an operator, in float64.

A shared map gives every class the same d features: weights are (d, C), and Phi w = phi W. A per-output map, such as
the tangent map, gives each output its own k features: weights are (k, 1), and (Phi w)_ic = Phi_ic . w.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from unlearning.errors import NonFinite, OutOfRange, ShapeMismatch


class Features(Protocol):
    """Phi of n records with C outputs; its weights have shape (d, q)."""

    @property
    def count(self) -> int:
        """n."""

    @property
    def outputs(self) -> int:
        """C."""

    @property
    def weight_shape(self) -> tuple[int, int]:
        """(d, q)."""

    def apply(self, weights: Tensor) -> Tensor:
        """Return Phi w, (n, C), of weights (d, q)."""

    def adjoint(self, errors: Tensor) -> Tensor:
        """Return Phi^T e, (d, q), of errors (n, C)."""

    def take(self, index: Tensor) -> "Features":
        """Return the operator of the chosen records, in the order of `index`, int64 (m,)."""


@runtime_checkable
class KnownEntries(Features, Protocol):
    """Features whose entries are held in memory, so that the rounding of a pass over them can be bounded."""

    def magnitudes(self) -> Features:
        """Return |Phi|, entry by entry."""

    def take(self, index: Tensor) -> "KnownEntries":
        """Return the operator of the chosen records."""

    def largest_record_norm(self) -> float:
        """Return an upper bound on the spectral norm of one record's Phi_i, 0 without records."""


@dataclass(frozen=True, slots=True, eq=False)
class SharedFeatures:
    """phi (n, d) float64, the same for each of `classes` outputs."""

    phi: Tensor
    classes: int

    def __post_init__(self) -> None:
        """Raise ShapeMismatch, NonFinite, OutOfRange."""
        check_matrix("features", self.phi, dimensions=2)
        if self.classes < 1:
            raise OutOfRange("classes", self.classes, ">= 1")

    @property
    def count(self) -> int:
        """n."""
        return int(self.phi.shape[0])

    @property
    def outputs(self) -> int:
        """C."""
        return self.classes

    @property
    def weight_shape(self) -> tuple[int, int]:
        """(d, C)."""
        return int(self.phi.shape[1]), self.classes

    def apply(self, weights: Tensor) -> Tensor:
        """Return phi W, (n, C)."""
        return self.phi @ weights

    def adjoint(self, errors: Tensor) -> Tensor:
        """Return phi^T E, (d, C)."""
        return self.phi.mT @ errors

    def take(self, index: Tensor) -> "SharedFeatures":
        """Return the chosen records."""
        return SharedFeatures(self.phi[index], self.classes)

    def magnitudes(self) -> "SharedFeatures":
        """Return |phi|."""
        return SharedFeatures(self.phi.abs(), self.classes)

    def largest_record_norm(self) -> float:
        """Return the largest Euclidean norm of a row, which is the spectral norm of I_C (x) phi_i^T."""
        return float(torch.linalg.vector_norm(self.phi, dim=1).max()) if self.count else 0.0


@dataclass(frozen=True, slots=True, eq=False)
class PerOutputFeatures:
    """phi (n, C, k) float64: one row of k features for each output of each record."""

    phi: Tensor

    def __post_init__(self) -> None:
        """Raise ShapeMismatch, NonFinite."""
        check_matrix("features", self.phi, dimensions=3)

    @property
    def count(self) -> int:
        """n."""
        return int(self.phi.shape[0])

    @property
    def outputs(self) -> int:
        """C."""
        return int(self.phi.shape[1])

    @property
    def weight_shape(self) -> tuple[int, int]:
        """(k, 1)."""
        return int(self.phi.shape[2]), 1

    def apply(self, weights: Tensor) -> Tensor:
        """Return Phi w, (n, C), of w (k, 1)."""
        return (self.phi @ weights).squeeze(-1)

    def adjoint(self, errors: Tensor) -> Tensor:
        """Return Phi^T e, (k, 1), of errors (n, C)."""
        return self.phi.flatten(0, 1).mT @ errors.reshape(-1, 1)

    def take(self, index: Tensor) -> "PerOutputFeatures":
        """Return the chosen records."""
        return PerOutputFeatures(self.phi[index])

    def magnitudes(self) -> "PerOutputFeatures":
        """Return |Phi|."""
        return PerOutputFeatures(self.phi.abs())

    def largest_record_norm(self) -> float:
        """Return the largest Frobenius norm of a record's Phi_i, which is at least its spectral norm."""
        return float(torch.linalg.vector_norm(self.phi, dim=(1, 2)).max()) if self.count else 0.0


def check_matrix(name: str, values: Tensor, *, dimensions: int) -> None:
    """Raise ShapeMismatch unless `values` is float64 with so many dimensions; NonFinite: NaN or infinity in it."""
    if values.ndim != dimensions:
        raise ShapeMismatch(f"dimensions of the {name}", values.ndim, dimensions)
    if values.dtype != torch.float64:
        raise ShapeMismatch(f"dtype of the {name}", values.dtype, torch.float64)
    broken = values.numel() - int(torch.count_nonzero(torch.isfinite(values)))
    if broken:
        raise NonFinite(name, broken)
