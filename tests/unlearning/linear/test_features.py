"""Features as an operator: the adjoint is the adjoint, and a shared map is a per-output map with repeated features."""

import math

import pytest
import torch

from unlearning.errors import NonFinite, OutOfRange, ShapeMismatch
from unlearning.linear.features import KnownEntries, PerOutputFeatures, SharedFeatures


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("features", [SharedFeatures(normal(7, 5), 3), PerOutputFeatures(normal(7, 3, 5))])
def test_the_adjoint_is_the_adjoint(features: KnownEntries) -> None:
    w, e = normal(*features.weight_shape, seed=1), normal(7, 3, seed=2)
    left, right = float((features.apply(w) * e).sum()), float((w * features.adjoint(e)).sum())
    assert math.isclose(left, right, rel_tol=1e-12)


def test_shared_features_are_per_output_features_that_repeat() -> None:
    """Phi_i = I_C (x) phi_i^T, with the weights' columns one below the other."""
    phi, w, e = normal(6, 4), normal(4, 3, seed=1), normal(6, 3, seed=2)
    repeated = PerOutputFeatures(torch.einsum("nd,ab->nabd", phi, torch.eye(3, dtype=torch.float64)).flatten(2))
    shared = SharedFeatures(phi, 3)
    torch.testing.assert_close(repeated.apply(w.mT.reshape(-1, 1)), shared.apply(w))
    torch.testing.assert_close(repeated.adjoint(e).reshape(3, 4).mT, shared.adjoint(e))


@pytest.mark.parametrize("features", [SharedFeatures(normal(7, 5), 3), PerOutputFeatures(normal(7, 3, 5))])
def test_taken_records_come_in_the_order_asked_for(features: KnownEntries) -> None:
    index = torch.tensor([5, 0, 5])
    taken = features.take(index)
    w = normal(*features.weight_shape, seed=1)
    assert taken.count == 3
    torch.testing.assert_close(taken.apply(w), features.apply(w)[index])
    assert float(features.magnitudes().apply(w.abs()).min()) >= 0


@pytest.mark.parametrize("features", [SharedFeatures(normal(7, 5), 3), PerOutputFeatures(normal(7, 3, 5))])
def test_no_record_is_larger_than_the_largest_norm(features: KnownEntries) -> None:
    worst = 0.0
    for i in range(7):
        one = features.take(torch.tensor([i]))
        d, q = features.weight_shape
        rows = []
        for j in range(d * q):
            unit = torch.zeros(d, q, dtype=torch.float64)
            unit.view(-1)[j] = 1.0
            rows.append(one.apply(unit).reshape(-1))
        worst = max(worst, float(torch.linalg.matrix_norm(torch.stack(rows, 1), ord=2)))
    assert worst <= features.largest_record_norm() * (1 + 1e-12)
    assert SharedFeatures(normal(0, 5), 3).largest_record_norm() == 0.0


def test_features_that_are_not_finite_float64_are_refused() -> None:
    broken = normal(3, 2)
    broken[1, 1] = math.nan
    with pytest.raises(NonFinite):
        SharedFeatures(broken, 2)
    with pytest.raises(ShapeMismatch):
        SharedFeatures(normal(3, 2).float(), 2)
    with pytest.raises(ShapeMismatch):
        PerOutputFeatures(normal(3, 2))
    with pytest.raises(OutOfRange):
        SharedFeatures(normal(3, 2), 0)
