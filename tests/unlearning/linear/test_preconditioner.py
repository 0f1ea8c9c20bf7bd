"""Preconditioners from core data: positive definite, exact where the structure is exact, and they save iterations."""

import math

import pytest
import torch
from torch import Tensor

from unlearning.errors import BudgetMissed, NonFinite, OutOfRange, ShapeMismatch
from unlearning.linear.features import PerOutputFeatures, SharedFeatures
from unlearning.linear.krylov import solve_krylov
from unlearning.linear.preconditioner import (
    Identity,
    Kronecker,
    KroneckerBlock,
    LowRank,
    Preconditioner,
    moment_product,
    random_nystrom,
    top_eigenpairs,
)
from unlearning.linear.problem import RetainedProblem

WIDTH, MU = 60, 1e-4


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture(scope="module")
def ill_conditioned() -> tuple[RetainedProblem, SharedFeatures]:
    """A problem whose Hessian has condition number near 1e6, and core features of the same distribution."""
    turned, _ = torch.linalg.qr(normal(3, WIDTH, WIDTH))
    scales = (MU * torch.logspace(6, -2, WIDTH, dtype=torch.float64)).sqrt()
    user, core = (SharedFeatures(normal(seed, 300, WIDTH) * scales @ turned, 4) for seed in (1, 2))
    return RetainedProblem(user, normal(4, 300, 4), MU), core


def as_matrix(preconditioner: Preconditioner, d: int) -> Tensor:
    """P^-1 as a dense matrix."""
    return torch.cat([preconditioner.solve(column.unsqueeze(1)) for column in torch.eye(d).double()], dim=1)


def nystrom(core: SharedFeatures, rank: int) -> LowRank:
    return random_nystrom(moment_product(core), WIDTH, MU, rank, torch.Generator().manual_seed(0))


def second_moment(core: SharedFeatures) -> Tensor:
    return core.phi.mT @ core.phi / core.count


def test_core_features_save_iterations(ill_conditioned: tuple[RetainedProblem, SharedFeatures]) -> None:
    problem, core = ill_conditioned
    generator = torch.Generator().manual_seed(0)
    none = solve_krylov(problem, budget=1e-9)
    top = solve_krylov(problem, budget=1e-9, preconditioner=top_eigenpairs(second_moment(core), MU, 45))
    sketched = solve_krylov(
        problem, budget=1e-9, preconditioner=random_nystrom(moment_product(core), WIDTH, MU, 50, generator)
    )
    assert top.iterations <= 0.5 * none.iterations
    assert sketched.iterations <= 0.5 * none.iterations
    for other in (top, sketched):
        assert float(torch.linalg.norm(other.weights - none.weights)) <= 2 * 1e-9 / MU


@pytest.mark.parametrize("rank", [1, 20, WIDTH])
def test_low_rank_preconditioners_are_positive_definite(
    ill_conditioned: tuple[RetainedProblem, SharedFeatures], rank: int
) -> None:
    _, core = ill_conditioned
    for preconditioner in (top_eigenpairs(second_moment(core), MU, rank), nystrom(core, rank)):
        inverse = as_matrix(preconditioner, WIDTH)
        torch.testing.assert_close(inverse, inverse.mT)
        assert float(torch.linalg.eigvalsh(inverse).min()) > 0


def test_every_eigenpair_makes_the_inverse(ill_conditioned: tuple[RetainedProblem, SharedFeatures]) -> None:
    _, core = ill_conditioned
    hessian = second_moment(core) + MU * torch.eye(WIDTH, dtype=torch.float64)
    for preconditioner in (
        top_eigenpairs(second_moment(core), MU, WIDTH),
        nystrom(core, WIDTH),
    ):
        product = hessian @ as_matrix(preconditioner, WIDTH)
        # The condition number is 1e6, and the sketch is shifted by 2^-40 of a norm.
        torch.testing.assert_close(product, torch.eye(WIDTH, dtype=torch.float64), atol=1e-5, rtol=0)


def test_kronecker_factors_invert_what_has_their_structure() -> None:
    """H = blockdiag(G1 (x) A1, c I, G2 (x) A2) + mu I."""
    factors = [(m @ m.mT / 5) for m in (normal(1, 2, 5), normal(2, 3, 5), normal(3, 3, 5), normal(4, 2, 5))]
    g1, a1, g2, a2 = factors
    hessian = torch.block_diag(torch.kron(g1, a1), 0.7 * torch.eye(2).double(), torch.kron(g2, a2))
    hessian += MU * torch.eye(14, dtype=torch.float64)
    preconditioner = Kronecker([KroneckerBlock(8, g2, a2), KroneckerBlock(0, g1, a1)], MU, rest=0.7)
    right = normal(5, 14, 3)
    found = hessian @ preconditioner.solve(right)
    torch.testing.assert_close(found, right, atol=1e-8, rtol=1e-8)


def test_kronecker_factors_save_iterations_on_a_layer() -> None:
    """Derivatives by a layer's weights are g a^T; correlated inputs make the Hessian ill-conditioned."""
    scales = torch.logspace(0, -2.5, 12, dtype=torch.float64)

    def layer(seed: int) -> tuple[Tensor, Tensor, PerOutputFeatures]:
        a, g = normal(seed, 200, 12) * scales, normal(seed + 1, 200, 3, 4)
        return a, g, PerOutputFeatures(torch.einsum("nco,ni->ncoi", g, a).flatten(2))

    a, g, _ = layer(10)
    flat = g.flatten(0, 1)
    block = KroneckerBlock(0, flat.mT @ flat / 200, a.mT @ a / 200)
    _, _, user = layer(20)
    problem = RetainedProblem(user, normal(6, 200, 3), 1e-5)
    none = solve_krylov(problem, budget=1e-10)
    helped = solve_krylov(problem, budget=1e-10, preconditioner=Kronecker([block], 1e-5))
    assert helped.iterations <= 0.5 * none.iterations


def test_a_preconditioner_that_is_not_positive_definite_is_no_result(
    ill_conditioned: tuple[RetainedProblem, SharedFeatures],
) -> None:
    class Negative(Identity):
        """Minus one."""

        def solve(self, residual: Tensor) -> Tensor:
            """Return -r."""
            return -residual

    problem, _ = ill_conditioned
    with pytest.raises(BudgetMissed, match="not positive definite"):
        solve_krylov(problem, budget=1e-9, preconditioner=Negative())


def test_bad_input_is_refused(counting: type) -> None:
    core = counting(SharedFeatures(normal(0, 10, 4), 2))
    generator = torch.Generator().manual_seed(0)
    for rank in (0, 5):
        with pytest.raises(OutOfRange):
            random_nystrom(moment_product(core), 4, MU, rank, generator)
        with pytest.raises(OutOfRange):
            top_eigenpairs(torch.eye(4).double(), MU, rank)
    with pytest.raises(OutOfRange):
        random_nystrom(moment_product(core), 4, 0.0, 2, generator)
    assert core.passes == 0
    with pytest.raises(OutOfRange):
        moment_product(SharedFeatures(normal(0, 0, 4), 2))
    with pytest.raises(ShapeMismatch):
        top_eigenpairs(normal(0, 4, 3), MU, 2)
    with pytest.raises(ShapeMismatch):
        LowRank(torch.eye(4).double(), torch.ones(3).double(), MU)
    with pytest.raises(OutOfRange):
        LowRank(torch.eye(4).double(), -torch.ones(4).double(), MU)
    with pytest.raises(NonFinite):
        one_block(math.nan)
    with pytest.raises(OutOfRange, match="overlap"):
        Kronecker([KroneckerBlock(0, torch.eye(2).double(), torch.eye(2).double())] * 2, MU)
    with pytest.raises(OutOfRange):
        Kronecker([], MU, rest=-1.0)
    with pytest.raises(ShapeMismatch):
        Kronecker([KroneckerBlock(0, torch.eye(2).double(), torch.eye(2).double())], MU).solve(normal(0, 3, 1))


def one_block(value: float) -> Kronecker:
    return Kronecker([KroneckerBlock(0, torch.full((2, 2), value).double(), torch.eye(2).double())], MU)
