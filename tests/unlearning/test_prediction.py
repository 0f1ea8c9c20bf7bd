"""Predictions see what training saw, one at a time or together, from any thread."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from unlearning.errors import NonFinite, ShapeMismatch
from unlearning.exact_solver import solve_exact
from unlearning.prediction import predict_logits, probabilities
from unlearning.public_model import PublicModel
from unlearning.residual import default_residual_budget
from unlearning.statistics import Statistics

Table = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def weights(table: Table, table_model: PublicModel) -> np.ndarray:
    rows = table_model.extract(table[0][80:], table[1][80:])
    statistics = Statistics.zero(table_model.width, 3).plus(rows, table_model.plan)
    budget = default_residual_budget(table_model.plan, table_model.width, 0.01)
    return solve_exact(statistics, table_model.plan, mu=0.01, residual_budget=budget).weights


def test_logits_are_core_plus_weights_on_stored_integers(
    table: Table, table_model: PublicModel, weights: np.ndarray
) -> None:
    """Off by what one grid unit of a feature or core output can do, as the shapes of the passes differ."""
    x, y = table
    rows, plan = table_model.extract(x, y), table_model.plan
    expected = plan.core_values(rows.core_output) + plan.phi_values(rows.phi) @ weights
    unit = 2.0**-plan.target_exponent + 2.0**-plan.phi_exponent * np.abs(weights).sum(axis=0).max()
    got = predict_logits(table_model, weights, x)
    assert np.abs(got - expected).max() <= unit
    one_by_one = np.concatenate([predict_logits(table_model, weights, x[i : i + 1]) for i in range(40)])
    assert np.abs(one_by_one - expected[:40]).max() <= unit


def test_without_weights_the_core_answers(table: Table, table_model: PublicModel) -> None:
    got = predict_logits(table_model, np.zeros((table_model.width, 3)), table[0])
    core = table_model.network(table_model.input_spec.prepare(table[0])).detach().numpy()
    assert np.abs(got - core).max() <= 2.0**-table_model.plan.target_exponent


def test_passes_are_limited_without_changing_the_answer(
    table: Table, table_model: PublicModel, weights: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = predict_logits(table_model, weights, table[0])
    monkeypatch.setattr("unlearning.prediction.LARGEST_PASS", 64)
    assert np.abs(predict_logits(table_model, weights, table[0]) - whole).max() < 0.01
    assert predict_logits(table_model, weights, table[0][:0]).shape == (0, 3)


def test_several_threads_get_the_answers_of_one(table: Table, table_model: PublicModel, weights: np.ndarray) -> None:
    records = [table[0][i : i + 1] for i in range(60)]
    alone = [predict_logits(table_model, weights, record) for record in records]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda record: predict_logits(table_model, weights, record), records))
    assert all(np.allclose(a, b, rtol=0, atol=0.01) for a, b in zip(alone, together, strict=True))


def test_probabilities_sum_to_one_without_overflow() -> None:
    got = probabilities(np.array([[1e4, 0.0, -1e4], [0.0, 0.0, 0.0]]))
    assert got.tolist() == [[1.0, 0.0, 0.0], [1 / 3, 1 / 3, 1 / 3]]


def test_bad_input_is_refused(table: Table, table_model: PublicModel, weights: np.ndarray) -> None:
    with pytest.raises(ShapeMismatch, match="weights"):
        predict_logits(table_model, weights[:-1], table[0])
    with pytest.raises(NonFinite):
        predict_logits(table_model, weights, np.full((1, 5), np.nan, np.float32))
    with pytest.raises(ShapeMismatch):
        predict_logits(table_model, weights, table[0].astype(np.float64))
