"""Passes of sizes that were found equal: the same bits alone and in company."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from unlearning import pass_sizes
from unlearning.pass_sizes import LARGEST, SIZES, equal_sizes, predict_in
from unlearning.prediction import logits_of
from unlearning.public_model import PublicModel


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def test_a_record_has_the_same_bits_alone_and_in_any_company(
    table_model: PublicModel, table: tuple[np.ndarray, np.ndarray]
) -> None:
    sizes = equal_sizes(table_model, generator())
    assert sizes[-1] == LARGEST
    inputs = table_model.input_spec.prepare(table[0])
    weights = np.random.default_rng(3).normal(size=table_model.weight_shape)
    alone = np.concatenate([predict_in(table_model, weights, inputs[i : i + 1], sizes) for i in range(200)])
    for begin, end in ((0, 2), (5, 8), (0, 33), (7, 71), (0, 200)):
        assert np.array_equal(predict_in(table_model, weights, inputs[begin:end], sizes), alone[begin:end])
    as_they_come = predict_in(table_model, weights, inputs, ())
    assert np.abs(as_they_come - alone).max() < 0.02


@pytest.mark.parametrize(("smallest_equal", "expected"), [(1, SIZES), (4, SIZES[2:]), (LARGEST, ())])
def test_sizes_whose_bits_differ_are_left_out(
    table_model: PublicModel, monkeypatch: pytest.MonkeyPatch, smallest_equal: int, expected: tuple[int, ...]
) -> None:
    def differing(model: PublicModel, weights: Any, inputs: torch.Tensor) -> Any:
        # In a size of its own, so that only what is done with sizes is looked at.
        found = np.concatenate([logits_of(model, weights, inputs[i : i + 1]) for i in range(len(inputs))])
        return found * (1.0 if len(inputs) >= smallest_equal else 1.0 + 2.0**-30)

    monkeypatch.setattr(pass_sizes, "logits_of", differing)
    assert equal_sizes(table_model, generator()) == expected


def test_a_size_in_which_neighbours_matter_is_left_out(
    table_model: PublicModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def neighbourly(model: PublicModel, weights: Any, inputs: torch.Tensor) -> Any:
        found = np.concatenate([logits_of(model, weights, inputs[i : i + 1]) for i in range(len(inputs))])
        empty = any(not row.any() for row in inputs)
        return found * (1.0 + 2.0**-30 if len(inputs) == 8 and empty else 1.0)

    monkeypatch.setattr(pass_sizes, "logits_of", neighbourly)
    assert equal_sizes(table_model, generator()) == (16, 32, 64)
