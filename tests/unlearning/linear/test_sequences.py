"""Whatever was added and removed, in whatever order, from any start: the solvers land on the retained optimum."""

from dataclasses import dataclass, field

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from unlearning.linear import batches
from unlearning.linear.features import Features, PerOutputFeatures, SharedFeatures
from unlearning.linear.krylov import solve_krylov
from unlearning.linear.problem import RetainedProblem
from unlearning.linear.sgd import SgdPlan, smoothness, solve_sgd

POOL, WIDTH, OUTPUTS, MU, BUDGET = 30, 4, 3, 0.5, 1e-10
GROUPS = 5

ACTIONS = st.lists(
    st.tuples(st.sampled_from(["add", "add", "remove", "class", "group", "everything"]), st.integers(0, 10_000)),
    min_size=1,
    max_size=8,
)


@dataclass
class History:
    """Who is in, and weights that each change moves to the new optimum, starting where they are."""

    features: Features
    targets: Tensor
    labels: list[int]
    solver: str
    weights: Tensor
    present: set[int] = field(default_factory=set)

    def act(self, action: str, number: int) -> None:
        """Change who is in, then solve."""
        chosen = {
            "add": {(number * 7 + step) % POOL for step in range(1 + number % 9)},
            "remove": {number % POOL},
            "class": {i for i in range(POOL) if self.labels[i] == number % OUTPUTS},
            "group": {i for i in range(POOL) if i % GROUPS == number % GROUPS},
            "everything": set(range(POOL)),
        }[action]
        self.present = self.present | chosen if action == "add" else self.present - chosen
        self.solve(seed=number)

    def problem(self) -> RetainedProblem:
        """The quadratic of the records that are in."""
        index = torch.tensor(sorted(self.present), dtype=torch.int64)
        return RetainedProblem(self.features.take(index), self.targets[index], MU)

    def solve(self, seed: int) -> None:
        """Move the weights to the optimum."""
        problem = self.problem()
        if self.solver == "krylov":
            self.weights = solve_krylov(problem, budget=BUDGET, start=self.weights).weights
            return
        passes = batches.shuffled(problem.features, problem.targets, 8)
        norm = self.features.largest_record_norm()  # type: ignore[attr-defined]  # both kinds have it
        plan = SgdPlan(step=1.0 / smoothness(norm, MU), epochs=20, most_rounds=500)
        generator = torch.Generator().manual_seed(seed)
        self.weights = solve_sgd(problem, passes, plan, budget=BUDGET, generator=generator, start=self.weights).weights


def check(solver: str, actions: list[tuple[str, int]], seed: int, *, per_output: bool) -> None:
    """Run the history and compare with a dense solve that never saw anybody else."""
    generator = torch.Generator().manual_seed(seed)
    shape = (POOL, OUTPUTS, WIDTH) if per_output else (POOL, WIDTH)
    phi = torch.randn(*shape, generator=generator, dtype=torch.float64)
    features = PerOutputFeatures(phi) if per_output else SharedFeatures(phi, OUTPUTS)
    targets = torch.randn(POOL, OUTPUTS, generator=generator, dtype=torch.float64)
    labels = torch.randint(OUTPUTS, (POOL,), generator=generator).tolist()
    start = 10 * torch.randn(*features.weight_shape, generator=generator, dtype=torch.float64)
    history = History(features, targets, labels, solver, start)
    for action, number in actions:
        history.act(action, number)
    kept = sorted(history.present)
    if not kept:
        assert torch.count_nonzero(history.weights) == 0
        return
    rows = phi[kept].reshape(-1, WIDTH)
    right = rows.mT @ targets[kept].reshape(rows.shape[0], -1) / len(kept)
    never_saw = torch.linalg.solve(rows.mT @ rows / len(kept) + MU * torch.eye(WIDTH).double(), right)
    # The gradient is within the budget, no eigenvalue is below MU, and the dense solve is good to 1e-13.
    assert float(torch.linalg.norm(history.weights - never_saw)) <= BUDGET / MU + 1e-12


@settings(max_examples=60, deadline=None)
@given(actions=ACTIONS, seed=st.integers(0, 2**31), per_output=st.booleans())
def test_krylov_lands_on_the_retained_optimum(actions: list[tuple[str, int]], seed: int, per_output: bool) -> None:
    check("krylov", actions, seed, per_output=per_output)


@settings(max_examples=15, deadline=None)
@given(actions=ACTIONS, seed=st.integers(0, 2**31), per_output=st.booleans())
def test_sgd_lands_on_the_retained_optimum(actions: list[tuple[str, int]], seed: int, per_output: bool) -> None:
    check("sgd", actions, seed, per_output=per_output)
