"""Choosing the feature map: on core records that its network has not seen, and reproducibly."""

from functools import partial

import numpy as np
import pytest
import torch

from unlearning.choose_map import (
    FOLDS,
    Candidate,
    MapChoice,
    candidates,
    choose_map,
    halves,
    held_out_error,
)
from unlearning.errors import OutOfRange
from unlearning.gcv import DEFAULT_GRID
from unlearning.public_model import PublicModel, fit_public_model

FIT = partial(
    fit_public_model, class_names=("in", "out"), architecture="mlp", feature_map="head", capacity=1000, seed=3
)


def rings(records: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two rings around each other, in the plane: no linear function of the coordinates tells them apart."""
    generator = np.random.default_rng(seed)
    labels = np.arange(records) % 2
    angle, radius = generator.uniform(0, 2 * np.pi, records), 1 + 2 * labels + generator.normal(0, 0.1, records)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1).astype(np.float32), labels


def choose(x: np.ndarray, y: np.ndarray, **changes: object) -> MapChoice:
    settings: dict[str, object] = {"fit": partial(FIT, epochs=1), "alpha": 5.0, "grid": DEFAULT_GRID, "seed": 5}
    return choose_map(x, y, **(settings | changes))  # type: ignore[arg-type]  # a mixed dictionary of keywords


def test_where_only_a_kernel_can_tell_the_classes_apart_a_kernel_is_chosen() -> None:
    choice = choose(*rings(200))
    errors = dict(choice.errors)
    assert choice.chosen.feature_map == "nystrom"
    assert errors[choice.chosen] < 0.5 * errors[Candidate("head")]


def test_the_same_seed_chooses_the_same_and_among_equals_the_narrowest_wins() -> None:
    x, y = rings(120)
    assert choose(x, y) == choose(x, y)
    # With such a ridge no map predicts anything.
    flat = choose(x, y, grid=(1e12,))
    errors = [error for _, error in flat.errors]
    assert max(errors) < min(errors) * 1.01
    widths = {c: c.width for c, _ in flat.errors if c.width is not None}
    assert flat.chosen.width == min(widths.values())


def test_each_half_trains_a_network_once() -> None:
    x, y = rings(101)
    given: list[np.ndarray] = []

    def fit(x_half: np.ndarray, y_half: np.ndarray) -> PublicModel:
        given.append(x_half)
        return FIT(x_half, y_half, epochs=1)

    choose(x, y, fit=fit)
    assert [len(half) for half in given] == [51, 50]
    assert sorted(row.tobytes() for half in given for row in half) == sorted(row.tobytes() for row in x)


def test_what_a_network_knows_by_heart_does_not_count() -> None:
    """Labels drawn by lot cannot be predicted: the mean square of the targets around their mean is 2 (alpha / 2)^2."""
    generator = np.random.default_rng(2)
    x, y = generator.normal(size=(200, 40)).astype(np.float32), generator.integers(0, 2, 200)
    model = FIT(x, y, epochs=60)
    by_heart = model.plan.core_values(model.extract(x, y).core_output).argmax(1) == y
    assert by_heart.mean() > 0.95
    # The mean over 200 records of such an error stays within a tenth of its expectation.
    assert min(error for _, error in choose(x, y, fit=partial(FIT, epochs=60)).errors) > 0.9 * 12.5


def test_halves_share_every_class_evenly_and_no_record() -> None:
    labels = np.repeat([0, 1, 2], [30, 11, 2])
    one, other = halves(labels, torch.Generator().manual_seed(0))
    assert sorted([*one, *other]) == list(range(43))
    for label in range(3):
        assert abs(int((labels[one] == label).sum()) - int((labels[other] == label).sum())) <= 1


@pytest.mark.parametrize(("records", "width"), [(40, 6), (15, 30)])
def test_the_held_out_error_is_that_of_ridge_regressions_written_out(records: int, width: int) -> None:
    generator = torch.Generator().manual_seed(records)
    phi = torch.randn(records, width, generator=generator, dtype=torch.float64)
    targets = torch.randn(records, 3, generator=generator, dtype=torch.float64)
    mu, expected = 0.3, 0.0
    for fold in range(FOLDS):
        held = np.arange(records) % FOLDS == fold
        a, t = phi.numpy()[~held], targets.numpy()[~held]
        weights = np.linalg.solve(a.T @ a + len(a) * mu * np.eye(width), a.T @ t)
        expected += float(np.square(phi.numpy()[held] @ weights - targets.numpy()[held]).sum())
    assert held_out_error(phi, targets, (mu,)) == pytest.approx(expected / records, rel=1e-10)


def test_a_fold_takes_the_ridge_that_fits_its_own_records_best() -> None:
    generator = torch.Generator().manual_seed(1)
    phi = torch.randn(60, 20, generator=generator, dtype=torch.float64)
    signal = phi @ torch.randn(20, 2, generator=generator, dtype=torch.float64)
    noise = torch.randn(60, 2, generator=generator, dtype=torch.float64)
    small, large = (1e-4,), (10.0,)
    assert held_out_error(phi, signal, DEFAULT_GRID) < 0.1 * held_out_error(phi, signal, large)
    assert held_out_error(phi, noise, DEFAULT_GRID) < 0.9 * held_out_error(phi, noise, small)


@pytest.mark.parametrize("records", [20, 21, 5000])
def test_every_candidate_can_be_fitted(records: int) -> None:
    for candidate in candidates(records):
        assert candidate.width is None or 2 <= candidate.width <= min(records, 1024) + 1


def test_refuses_too_few_records_and_a_wrong_grid() -> None:
    with pytest.raises(OutOfRange, match="core records"):
        choose(*rings(19))
    with pytest.raises(OutOfRange, match="grid of mu"):
        choose(*rings(40), grid=())
