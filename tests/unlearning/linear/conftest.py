"""Random quadratics with a known spectrum, and what a dense float64 solve makes of them."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from unlearning.linear.features import Features, PerOutputFeatures, SharedFeatures
from unlearning.linear.problem import RetainedProblem

EPS = torch.finfo(torch.float64).eps

ProblemMaker = Callable[..., RetainedProblem]


class CountingFeatures:
    """Features that count the passes made over them."""

    def __init__(self, inside: Features) -> None:
        """Wrap `inside`."""
        self.inside = inside
        self.passes = 0

    @property
    def count(self) -> int:
        """n."""
        return self.inside.count

    @property
    def outputs(self) -> int:
        """C."""
        return self.inside.outputs

    @property
    def weight_shape(self) -> tuple[int, int]:
        """(d, q)."""
        return self.inside.weight_shape

    def apply(self, weights: Tensor) -> Tensor:
        """Count and apply."""
        self.passes += 1
        return self.inside.apply(weights)

    def adjoint(self, errors: Tensor) -> Tensor:
        """Count and apply the adjoint."""
        self.passes += 1
        return self.inside.adjoint(errors)

    def take(self, index: Tensor) -> Features:
        """Count and take."""
        self.passes += 1
        return self.inside.take(index)


@pytest.fixture(scope="session")
def make_problem() -> ProblemMaker:
    """A function (n, width, outputs, per_output, condition, mu, seed, reference) -> RetainedProblem.

    Columns of the features fall off so that the Hessian's condition number is near `condition`.
    """

    def make(
        n: int = 40,
        width: int = 8,
        outputs: int = 3,
        *,
        per_output: bool = False,
        condition: float = 1e3,
        mu: float = 1e-3,
        seed: int = 0,
        reference: bool = False,
    ) -> RetainedProblem:
        generator = torch.Generator().manual_seed(seed)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        # Eigenvalues of Phi^T Phi / n fall from about mu * condition to about mu.
        squares = mu * torch.logspace(0, 1, width, base=condition, dtype=torch.float64)
        phi = normal(n, outputs, width) if per_output else normal(n, width)
        phi = phi * squares.flip(0).sqrt()
        features = PerOutputFeatures(phi) if per_output else SharedFeatures(phi, outputs)
        origin = normal(*features.weight_shape) if reference else None
        return RetainedProblem(features, normal(n, outputs), mu, origin)

    return make


def dense_hessian(problem: RetainedProblem) -> Tensor:
    """H (d, d)."""
    assert isinstance(problem.features, SharedFeatures | PerOutputFeatures)
    rows = problem.features.phi.reshape(-1, problem.features.phi.shape[-1])
    eye = torch.eye(rows.shape[1], dtype=torch.float64)
    return (rows.mT @ rows / max(problem.count, 1)) + problem.mu * eye


@pytest.fixture(scope="session")
def dense() -> Callable[[RetainedProblem], tuple[Tensor, Tensor]]:
    """A function problem -> (H (d, d), minimiser (d, q)) by a dense solve."""

    def solve(problem: RetainedProblem) -> tuple[Tensor, Tensor]:
        hessian = dense_hessian(problem)
        right = problem.features.adjoint(problem.targets) / max(problem.count, 1) + problem.mu * problem.reference
        return hessian, torch.linalg.solve(hessian, right)

    return solve


@pytest.fixture(scope="session")
def tolerance() -> Callable[[Tensor, Tensor, float, float], float]:
    """A function (H, w*, mu, residual) -> how far a solution may lie from a dense one.

    ||w - w*|| <= ||g(w)|| / mu, and the dense solve itself errs by a few cond * eps.
    """

    def allowed(hessian: Tensor, weights: Tensor, mu: float, residual: float) -> float:
        own = 10 * float(torch.linalg.cond(hessian)) * EPS * float(torch.linalg.norm(weights))
        return residual / mu + own

    return allowed


@pytest.fixture
def counting() -> type[CountingFeatures]:
    """The class of features that count their passes."""
    return CountingFeatures
