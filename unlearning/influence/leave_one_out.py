"""The exact change for every record left out alone, from one factorization: O(n d^2 + d^3) for a shared map.

Let rho be the ridge without one record, N = A + rho I, V = (n mu - rho) N^-1 (w - w_ref), a_i = Phi_i N^-1 Phi_i^T and
e_i = t_i - Phi_i w. The Woodbury identity turns `leave_out`'s formula into
w_-i - w = V - N^-1 Phi_i^T (I - a_i)^-1 (e_i - Phi_i V). With a fixed ridge V is zero and this is the corrected eq. 5.8
of the dissertation. I - a_i is at least rho / (rho + ||Phi_i||^2), and the relative error grows with its inverse.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from unlearning.errors import OutOfRange
from unlearning.influence.fitted import Fitted, Ridge, factor, solve
from unlearning.linear.features import PerOutputFeatures, SharedFeatures

BLOCK = 1024
"""Records handled together."""


@dataclass(frozen=True, slots=True, eq=False)
class SharedChanges:
    """Of b records: change_i = drift - directions_i pulls_i^T, with drift V (d, C), directions (b, d), pulls (b, C)."""

    drift: Tensor
    directions: Tensor
    pulls: Tensor

    def weights(self) -> Tensor:
        """Return w_-i - w, (b, d, C)."""
        return self.drift - self.directions.unsqueeze(2) * self.pulls.unsqueeze(1)

    def predictions(self, at: SharedFeatures) -> Tensor:
        """Return f_-i - f, (b, m, C), at the m records of `at`."""
        moved = (self.directions @ at.phi.mT).unsqueeze(2) * self.pulls.unsqueeze(1)
        return at.apply(self.drift) - moved

    def squared(self, moment: Tensor) -> Tensor:
        """Return tr(change_i^T G change_i), (b,), for G (d, d); without forming the changes."""
        moved = self.directions @ moment
        own = (moved * self.directions).sum(1) * self.pulls.square().sum(1)
        mixed = ((moved @ self.drift) * self.pulls).sum(1)
        common = (self.drift * (moment @ self.drift)).sum()
        return (own - 2.0 * mixed + common).clamp_min(0.0)


@dataclass(frozen=True, slots=True, eq=False)
class PerOutputChanges:
    """Of b records: the changes themselves, (b, k)."""

    changes: Tensor

    def weights(self) -> Tensor:
        """Return w_-i - w, (b, k, 1)."""
        return self.changes.unsqueeze(2)

    def predictions(self, at: PerOutputFeatures) -> Tensor:
        """Return f_-i - f, (b, m, C), at the m records of `at`."""
        flat = self.changes @ at.phi.flatten(0, 1).mT
        return flat.reshape(-1, at.count, at.outputs)

    def squared(self, moment: Tensor) -> Tensor:
        """Return change_i^T G change_i, (b,), for G (k, k)."""
        return ((self.changes @ moment) * self.changes).sum(1).clamp_min(0.0)


Changes = SharedChanges | PerOutputChanges


def changes_of_each(fitted: Fitted, ridge: Ridge = Ridge.PER_RECORD, *, block: int = BLOCK) -> Iterator[Changes]:
    """Yield the changes of all n records in order, `block` records at a time. Of a single record w_ref is left.

    Raises OutOfRange: block not positive; ProblemRefused.
    """
    if block < 1:
        raise OutOfRange("block", block, ">= 1")
    if fitted.count <= 1:
        return iter([_only(fitted)] if fitted.count else [])
    return _blocks(fitted, ridge, block)


def _blocks(fitted: Fitted, ridge: Ridge, block: int) -> Iterator[Changes]:
    problem = fitted.problem
    rho = ridge.after(problem, 1)
    lower = factor(fitted.gram, rho)
    lost_ridge = problem.count * problem.mu - rho
    drift = solve(lower, lost_ridge * (fitted.weights - problem.reference))
    errors = fitted.errors - fitted.features.apply(drift)
    for start in range(0, fitted.count, block):
        part = slice(start, start + block)
        if isinstance(fitted.features, SharedFeatures):
            yield _shared(lower, drift, fitted.features.phi[part], errors[part])
        else:
            yield _per_output(lower, drift, fitted.features.phi[part], errors[part])


def _shared(lower: Tensor, drift: Tensor, phi: Tensor, errors: Tensor) -> SharedChanges:
    half = torch.linalg.solve_triangular(lower, phi.mT, upper=False)
    leverage = half.square().sum(0)
    directions = torch.linalg.solve_triangular(lower.mT, half, upper=True).mT
    return SharedChanges(drift, directions, errors / (1.0 - leverage).unsqueeze(1))


def _per_output(lower: Tensor, drift: Tensor, phi: Tensor, errors: Tensor) -> PerOutputChanges:
    records, outputs, width = phi.shape
    half = torch.linalg.solve_triangular(lower, phi.reshape(-1, width).mT, upper=False)
    by_record = half.mT.reshape(records, outputs, width)
    kept = torch.eye(outputs, dtype=phi.dtype, device=phi.device) - by_record @ by_record.mT
    pulls = torch.linalg.solve(kept, errors.unsqueeze(2))
    moved = (by_record.mT @ pulls).squeeze(2)
    return PerOutputChanges(drift.mT - torch.linalg.solve_triangular(lower.mT, moved.mT, upper=True).mT)


def _only(fitted: Fitted) -> Changes:
    """Return the change of the only record: what is left is w_ref."""
    change = fitted.problem.reference - fitted.weights
    if isinstance(fitted.features, PerOutputFeatures):
        return PerOutputChanges(change.mT)
    nothing = torch.zeros(1, change.shape[0], dtype=change.dtype, device=change.device)
    return SharedChanges(change, nothing, torch.zeros(1, change.shape[1], dtype=change.dtype, device=change.device))
