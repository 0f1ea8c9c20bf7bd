"""Random ridge problems of both kinds of maps, and a refit by another route than the code that is tested."""

from dataclasses import dataclass

import torch
from hypothesis import strategies as st
from torch import Tensor

from unlearning.influence.fitted import Fitted, Ridge, StoredFeatures, fit
from unlearning.linear.features import PerOutputFeatures, SharedFeatures

EPS = torch.finfo(torch.float64).eps


@dataclass(frozen=True)
class Case:
    """A problem of n records and m test records of the same map."""

    fitted: Fitted
    at: StoredFeatures
    core: Tensor
    labels: Tensor

    def without(self, group: Tensor, ridge: Ridge) -> Tensor:
        """Return the minimiser without `group`, by a QR of the stacked least squares problem: no Gram matrix."""
        problem = self.fitted.problem
        kept = torch.ones(problem.count, dtype=torch.bool)
        kept[group] = False
        rows = self.fitted.features.phi[kept]
        rho = ridge.after(problem, int(group.numel()))
        goal = problem.targets[kept]
        if rows.ndim == 3:
            rows, goal = rows.flatten(0, 1), goal.reshape(-1, 1)
        d = rows.shape[1]
        goal = torch.cat([goal - rows @ problem.reference, torch.zeros(d, goal.shape[1], dtype=goal.dtype)])
        stacked = torch.cat([rows, rho**0.5 * torch.eye(d, dtype=rows.dtype)])
        q, r = torch.linalg.qr(stacked)
        moved: Tensor = torch.linalg.solve_triangular(r, q.mT @ goal, upper=True)
        return problem.reference + moved

    def tolerance(self, removed: int, ridge: Ridge, *, power: int = 1) -> float:
        """Return the error of weights that float64 allows: eps times the condition, once more for a downdate."""
        problem = self.fitted.problem
        rho = ridge.after(problem, removed)
        largest = float(torch.linalg.matrix_norm(self.fitted.gram, 2)) + problem.count * problem.mu
        size = float(self.fitted.weights.norm() + problem.reference.norm() + problem.targets.norm() / rho**0.5)
        return 10 * EPS * (largest / rho) ** power * size


def make_case(
    kind: str, *, n: int, d: int, classes: int, mu: float, seed: int, tests: int = 9, referenced: bool = True
) -> Case:
    """Return a random problem; `kind` is shared or per-output."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    def features(count: int) -> StoredFeatures:
        if kind == "shared":
            return SharedFeatures(normal(count, d), classes)
        return PerOutputFeatures(normal(count, classes, d))

    train = features(n)
    reference = normal(*train.weight_shape) if referenced else None
    labels = torch.randint(0, classes, (tests,), generator=generator)
    return Case(fit(train, 3.0 * normal(n, classes), mu, reference), features(tests), normal(tests, classes), labels)


@st.composite
def cases(draw: st.DrawFn, *, least: int = 2) -> Case:
    """Draw small problems, also with more features than records and with small and large mu."""
    return make_case(
        draw(st.sampled_from(["shared", "per-output"])),
        n=draw(st.integers(least, 24)),
        d=draw(st.integers(1, 12)),
        classes=draw(st.integers(1, 4)),
        mu=draw(st.sampled_from([1e-2, 0.1, 1.0, 10.0])),
        seed=draw(st.integers(0, 2**31)),
        referenced=draw(st.booleans()),
    )
