"""Small plans, random rows and fitted models that the tests of the mathematics share."""

from collections.abc import Callable

import numpy as np
import pytest

from unlearning.public_model import PublicModel, fit_public_model
from unlearning.quantization import QuantizationPlan
from unlearning.rows import QuantizedRows

RowMaker = Callable[..., QuantizedRows]


@pytest.fixture(scope="session")
def plan() -> QuantizationPlan:
    """Three classes, at most 1,000 records, full bit widths."""
    return QuantizationPlan(
        classes=3,
        capacity=1000,
        phi_bits=16,
        target_bits=18,
        phi_exponent=10,
        target_exponent=10,
        alpha_int=5 * 2**10,
        core_limit=2**16,
    )


@pytest.fixture(scope="session")
def random_rows(plan: QuantizationPlan) -> RowMaker:
    """A function (count, width, seed) -> rows whose integers use the plan's whole range."""

    def make(count: int, width: int = 6, seed: int = 0) -> QuantizedRows:
        generator = np.random.default_rng(seed)
        return QuantizedRows(
            generator.integers(-plan.phi_limit, plan.phi_limit + 1, (count, width)).astype(np.int16),
            generator.integers(-plan.core_limit, plan.core_limit + 1, (count, plan.classes)).astype(np.int32),
            generator.integers(0, plan.classes, count).astype(np.int32),
        )

    return make


@pytest.fixture(scope="session")
def table() -> tuple[np.ndarray, np.ndarray]:
    """200 records of 5 float columns in three overlapping clouds, and their labels."""
    generator = np.random.default_rng(7)
    labels = generator.integers(0, 3, 200)
    centers = generator.normal(0, 1.5, (3, 5))
    return (centers[labels] + generator.normal(0, 1, (200, 5))).astype(np.float32), labels


@pytest.fixture(scope="session")
def table_model(table: tuple[np.ndarray, np.ndarray]) -> PublicModel:
    """An mlp with Nystrom features, fitted on the first 80 records of `table`."""
    x, y = table
    return fit_public_model(
        x[:80], y[:80], class_names=("a", "b", "c"), architecture="mlp", feature_map="nystrom", width=41,
        capacity=1000, epochs=5, seed=3,
    )  # fmt: skip


@pytest.fixture(scope="session")
def image_model() -> PublicModel:
    """A small-cnn with pooled features on random 8x8 grey images; its accuracy is of no interest."""
    generator = np.random.default_rng(11)
    x = generator.integers(0, 256, (60, 1, 8, 8)).astype(np.uint8)
    return fit_public_model(
        x, np.arange(60) % 2, class_names=("no", "yes"), architecture="small-cnn", feature_map="pooled",
        capacity=1000, epochs=2, seed=5,
    )  # fmt: skip
