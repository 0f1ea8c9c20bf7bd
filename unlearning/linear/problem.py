"""The quadratic that forgetting minimises: the loss of the retained records, its gradient and its Hessian.

L(w) = 1/(2n) sum ||f_c + Phi w - y||^2 + mu/2 ||w - w_ref||^2 (dissertation, eq. 6.8), with targets t = y - f_c:
gradient g(w) = Phi^T (Phi w - t) / n + mu (w - w_ref), Hessian H = Phi^T Phi / n + mu I. Equation 6.10 prints H
without 1/n; this is the Hessian of 6.8. One H of (d, d) serves all q columns of the weights.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from unlearning.errors import OutOfRange, ShapeMismatch
from unlearning.linear.features import Features, check_matrix
from unlearning.linear.rounding import gradient_rounding
from unlearning.linear.solution import Residual
from unlearning.residual import gamma


class Quadratic(Protocol):
    """What a solver by products needs: n, mu, the reference, the gradient and products with the Hessian."""

    @property
    def count(self) -> int:
        """n, the number of retained records."""

    @property
    def mu(self) -> float:
        """Weight decay; no eigenvalue of the Hessian is below it."""

    @property
    def reference(self) -> Tensor:
        """w_ref (d, q): the minimiser when no record is left."""

    def gradient(self, weights: Tensor) -> Tensor:
        """Return g(w), (d, q), over every retained record."""

    def hessian_product(self, direction: Tensor) -> Tensor:
        """Return H v, (d, q)."""

    def measured(self, weights: Tensor) -> Residual:
        """Return the norm of g(w), recomputed in full, and a bound that includes the rounding of computing it."""


@dataclass(frozen=True, slots=True, eq=False, init=False)
class RetainedProblem:
    """The quadratic of the records in `features`, with targets (n, C) = y - f_c. n = 0 leaves mu/2 ||w - w_ref||^2."""

    features: Features
    targets: Tensor
    mu: float
    reference: Tensor

    def __init__(self, features: Features, targets: Tensor, mu: float, reference: Tensor | None = None) -> None:
        """Check everything before any pass over the records. No reference means zero.

        Raises OutOfRange: mu not positive and finite; ShapeMismatch; NonFinite.
        """
        check_mu(mu)
        check_matrix("targets", targets, dimensions=2)
        expected = (features.count, features.outputs)
        if tuple(targets.shape) != expected:
            raise ShapeMismatch("targets", tuple(targets.shape), expected)
        origin = torch.zeros(features.weight_shape, dtype=torch.float64, device=targets.device)
        if reference is not None:
            check_weights("reference weights", reference, features.weight_shape)
            origin = reference
        object.__setattr__(self, "features", features)
        object.__setattr__(self, "targets", targets)
        object.__setattr__(self, "mu", mu)
        object.__setattr__(self, "reference", origin)

    @property
    def count(self) -> int:
        """n."""
        return self.features.count

    def errors(self, weights: Tensor) -> Tensor:
        """Return Phi w - t, (n, C)."""
        return self.features.apply(weights) - self.targets

    def loss(self, weights: Tensor) -> float:
        """Return L(w)."""
        decay = 0.5 * self.mu * float(torch.sum((weights - self.reference) ** 2))
        if not self.count:
            return decay
        return float(torch.sum(self.errors(weights) ** 2)) / (2 * self.count) + decay

    def gradient(self, weights: Tensor) -> Tensor:
        """Return g(w), (d, q): one full pass."""
        decay = self.mu * (weights - self.reference)
        if not self.count:
            return decay
        return self.features.adjoint(self.errors(weights)) / self.count + decay

    def hessian_product(self, direction: Tensor) -> Tensor:
        """Return H v, (d, q), by one pass each with Phi and its adjoint (dissertation, eq. 6.12, with 1/n)."""
        if not self.count:
            return self.mu * direction
        return self.features.adjoint(self.features.apply(direction)) / self.count + self.mu * direction

    def measured(self, weights: Tensor) -> Residual:
        """Return ||g(w)|| and its bound. Raises OutOfRange: the entries of the features are not known."""
        magnitude = self.mu * (weights.abs() + self.reference.abs())
        if not self.count:
            norm = float(torch.linalg.norm(self.gradient(weights)))
            rounding = gamma(3) * float(torch.linalg.norm(magnitude))
            return Residual(norm, (norm + rounding) * (1.0 + 2.0 * gamma(weights.numel() + 3)))
        errors = self.errors(weights)
        rounding = gradient_rounding(self.features, errors, self.targets, weights, magnitude)
        gradient = self.features.adjoint(errors) / self.count + self.mu * (weights - self.reference)
        norm = float(torch.linalg.norm(gradient))
        return Residual(norm, norm * (1.0 + 2.0 * gamma(weights.numel() + 3)) + rounding)


def check_mu(mu: float) -> None:
    """Raise OutOfRange unless mu is positive and finite."""
    if not (mu > 0 and math.isfinite(mu)):
        raise OutOfRange("mu", mu, "> 0")


def check_weights(name: str, weights: Tensor, shape: tuple[int, int]) -> None:
    """Raise ShapeMismatch, NonFinite unless `weights` is finite float64 of `shape`."""
    if tuple(weights.shape) != shape:
        raise ShapeMismatch(name, tuple(weights.shape), shape)
    check_matrix(name, weights, dimensions=2)
