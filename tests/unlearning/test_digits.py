"""Handwritten digits: users' records on top of a small public core must pay, and forgetting them must take it back."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from unlearning.exact_solver import solve_exact
from unlearning.prediction import predict_logits
from unlearning.public_model import fit_public_model
from unlearning.residual import default_residual_budget
from unlearning.statistics import Statistics

CORE, USERS = slice(0, 100), slice(100, 1500)
TEST = slice(1500, None)
MU = 1e-2


def digits() -> tuple[np.ndarray, np.ndarray]:
    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    images = (data.images * 15).astype(np.uint8)[:, None]
    return images[order], data.target[order]


@pytest.mark.parametrize("feature_map", ["head", "pooled", "nystrom"])
def test_user_weights_beat_the_core_and_go_when_everybody_goes(feature_map: str) -> None:
    x, y = digits()
    model = fit_public_model(
        x[CORE], y[CORE], class_names=tuple("0123456789"), architecture="small-cnn", feature_map=feature_map, seed=1
    )
    rows = model.extract(x[USERS], y[USERS])
    zero = Statistics.zero(model.width, 10)
    statistics = zero.plus(rows, model.plan)
    budget = default_residual_budget(model.plan, model.width, MU)

    def accuracy(current: Statistics) -> float:
        weights = solve_exact(current, model.plan, mu=MU, residual_budget=budget).weights
        return float((predict_logits(model, weights, x[TEST]).argmax(1) == y[TEST]).mean())

    # 297 test records: one standard error of a difference of 3 points is about 1.5 points, and the records are paired.
    core_only = accuracy(zero)
    assert accuracy(statistics) > core_only + 0.03
    assert accuracy(statistics.minus(rows, model.plan)) == core_only
