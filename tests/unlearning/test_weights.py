"""Weights as bytes."""

import numpy as np
import pytest

from unlearning.errors import CorruptArtifact, NonFinite, ShapeMismatch
from unlearning.weights import digest, weights_from_bytes, weights_to_bytes


@pytest.fixture
def weights() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(5, 3))


def test_round_trip_and_equal_bytes(weights: np.ndarray) -> None:
    data = weights_to_bytes(weights)
    assert np.array_equal(weights_from_bytes(data), weights)
    assert weights_to_bytes(np.asfortranarray(weights)) == data


def test_negative_zero_is_zero() -> None:
    assert weights_to_bytes(np.array([[-0.0, 1.0]])) == weights_to_bytes(np.array([[0.0, 1.0]]))


def test_digest_depends_on_key_and_bytes(weights: np.ndarray) -> None:
    data = weights_to_bytes(weights)
    assert len({digest(b"a", data), digest(b"b", data), digest(b"a", data[:-1] + b"\1")}) == 3


def test_wrong_weights_are_refused(weights: np.ndarray) -> None:
    with pytest.raises(ShapeMismatch):
        weights_to_bytes(weights.astype(np.float32))  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(NonFinite):
        weights_to_bytes(np.array([[np.inf]]))


def test_corrupt_bytes_are_refused(weights: np.ndarray) -> None:
    data = weights_to_bytes(weights)
    not_finite = data[:-8] + np.array([np.nan]).tobytes()
    for broken in (b"", data[:-1], data[:10], b"\xff" * 8 + data[8:], not_finite, data.replace(b"weights", b"Weights")):
        with pytest.raises(CorruptArtifact):
            weights_from_bytes(broken)
