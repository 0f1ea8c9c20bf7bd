"""The quadratic of a feature map in float64: what exact, krylov and sgd all minimise, with its read-outs."""

import secrets
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from benchmarks.results.worlds import Mapped
from unlearning.bounds.white_box import cheap_bound
from unlearning.linear.features import Features, PerOutputFeatures, SharedFeatures
from unlearning.linear.from_rows import features_of, targets_of
from unlearning.linear.preconditioner import Preconditioner, top_eigenpairs
from unlearning.linear.problem import RetainedProblem
from unlearning.noise.covariance import Covariance

RANK = 400
"""Directions of the preconditioner at most; half as many as there are core equations, whose others say little."""


@dataclass(frozen=True)
class Linear:
    """Users' and test records under one map: features, core outputs (n, C), targets (n, C), and a fixed mu.

    `core` are the features of core records, from which alone preconditioner and step sizes are chosen; `gram` (d, d)
    and `cross` (d, q) sum up all users.
    """

    users: Features
    test: Features
    users_core: Tensor
    test_core: Tensor
    targets: Tensor
    mu: float
    core: Features
    preconditioner: Preconditioner
    gram: Tensor
    cross: Tensor

    def problem(self, gone: Tensor | None = None) -> RetainedProblem:
        """Return the quadratic of everybody but the records in the mask `gone` (n,)."""
        if gone is None:
            return RetainedProblem(self.users, self.targets, self.mu)
        kept = torch.nonzero(~gone).flatten()
        return RetainedProblem(self.users.take(kept), self.targets[kept], self.mu)

    def users_logits(self, weights: Tensor) -> Tensor:
        """Return f_c + Phi w of all users' records, (n, C)."""
        return self.users_core + self.users.apply(weights)

    def test_logits(self, weights: Tensor) -> Tensor:
        """Return f_c + Phi w of the test records, (n, C)."""
        return self.test_core + self.test.apply(weights)

    def retrained(self, gone: Tensor | None = None) -> Tensor:
        """Return the weights (d, q) of a model that never saw the records in `gone`, by Cholesky in float64.

        The normal equations of everybody, less those of the forgotten: only for comparison, nothing is published.
        """
        gram, cross, count = self.gram, self.cross, self.users.count
        if gone is not None and bool(gone.any()):
            index = torch.nonzero(gone).flatten()
            left_gram, left_cross = normal_equations(self.users.take(index), self.targets[index])
            gram, cross, count = gram - left_gram, cross - left_cross, count - len(index)
        hessian, right = gram / count, cross / count
        hessian.diagonal().add_(self.mu)
        return torch.cholesky_solve(right, torch.linalg.cholesky(hessian))

    def with_mu(self, mu: float) -> "Linear":
        """Return the same records with another mu."""
        return replace(self, mu=mu)


def linear(mapped: Mapped, mu: float) -> Linear:
    """Return the quadratic of a map on the integers that are stored; the preconditioner is made from core records."""
    plan = mapped.model.plan
    users, core = features_of(mapped.users, plan), features_of(mapped.core, plan)
    targets = targets_of(mapped.users, plan)
    equations = core.count * (core.outputs if plan.per_output else 1)
    rank = min(RANK, mapped.model.width, equations // 2)
    moment, _ = normal_equations(core, targets_of(mapped.core, plan))
    return Linear(
        users,
        features_of(mapped.test, plan),
        torch.from_numpy(plan.core_values(mapped.users.core_output)),
        torch.from_numpy(plan.core_values(mapped.test.core_output)),
        targets,
        mu,
        core,
        top_eigenpairs(moment / core.count, mu, rank),
        *normal_equations(users, targets),
    )


def normal_equations(features: Features, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return Phi^T Phi (d, d) and Phi^T t (d, q)."""
    if isinstance(features, SharedFeatures):
        return features.phi.mT @ features.phi, features.adjoint(targets)
    assert isinstance(features, PerOutputFeatures)
    rows = features.phi.flatten(0, 1)
    return rows.mT @ rows, features.adjoint(targets)


@dataclass(frozen=True)
class Release:
    """Noise of one version: the covariance, drawn with the operating system's generator, and the bound in nats."""

    noise: Covariance
    mu: float

    def published(self, weights: Tensor) -> Tensor:
        """Return weights + noise; isotropic noise needs only the Hessian's size."""
        nowhere = torch.eye(weights.shape[0], dtype=torch.float64)
        return weights + self.noise.draw(nowhere, weights.shape[1], secrets.token_bytes)

    def nats(self, problem: RetainedProblem, weights: Tensor) -> float:
        """Return the bound from the gradient measured by a pass over the retained records."""
        return cheap_bound(problem.measured(weights).bound, self.noise, self.mu)
