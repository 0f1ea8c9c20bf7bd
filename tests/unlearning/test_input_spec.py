"""Raw records to network inputs."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from unlearning.errors import CorruptArtifact, NonFinite, OutOfRange, ShapeMismatch
from unlearning.input_spec import CHANNELS_LAST, CORE_MEAN, InputOptions, InputSpec, fit_input_spec

NAMES = ("cat", "dog")


def images(n: int = 10) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, 3, 8, 8)).astype(np.uint8)


def columns(n: int = 30) -> np.ndarray:
    return np.random.default_rng(0).normal(4, 2, (n, 5)).astype(np.float32)


def test_images_are_standardised_per_channel() -> None:
    spec = fit_input_spec(images(), NAMES)
    prepared = spec.prepare(images()).double()
    assert prepared.dtype.is_floating_point
    assert prepared.mean(dim=(0, 2, 3)).abs().max() < 1e-6
    assert (prepared.std(dim=(0, 2, 3), correction=0) - 1).abs().max() < 1e-6
    assert len(spec.mean) == 3


def test_columns_are_standardised_and_constant_ones_stay_finite() -> None:
    x = columns()
    x[:, 2] = 1e6
    spec = fit_input_spec(x, NAMES)
    prepared = spec.prepare(x)
    assert prepared.isfinite().all()
    assert prepared[:, 2].abs().max() == 0
    assert (prepared[:, 0].std(correction=0) - 1).abs() < 1e-5


def test_preparation_of_a_record_ignores_its_neighbours() -> None:
    spec = fit_input_spec(columns(), NAMES)
    assert spec.prepare(columns())[7].equal(spec.prepare(columns()[7:8])[0])


def test_other_shapes_dtypes_and_nan_are_refused() -> None:
    spec = fit_input_spec(columns(), NAMES)
    with pytest.raises(ShapeMismatch):
        spec.prepare(columns()[:, :4])
    with pytest.raises(ShapeMismatch):
        spec.prepare(columns()[0])
    with pytest.raises(ShapeMismatch, match="float32"):
        spec.prepare(columns().astype(np.float64))
    for value in (np.nan, np.inf):
        broken = columns()
        broken[3, 1] = value
        with pytest.raises(NonFinite) as refused:
            spec.prepare(broken)
        assert refused.value.count == 1
    with pytest.raises(NonFinite):
        fit_input_spec(broken, NAMES)


def test_values_that_overflow_when_standardised_are_refused() -> None:
    spec = InputSpec((1,), "float32", (0.0,), (1e-30,), NAMES)
    with pytest.raises(NonFinite, match="standardised"):
        spec.prepare(np.array([[1e30]], np.float32))


def test_json_round_trips_and_the_digest_follows_the_content() -> None:
    spec = fit_input_spec(images(), NAMES)
    assert InputSpec.from_json(spec.to_json()) == spec
    assert InputSpec.from_json(spec.to_json()).digest() == spec.digest()
    assert fit_input_spec(images(), ("cat", "cow")).digest() != spec.digest()


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"shape": "x"}'])
def test_broken_json_is_corrupt(text: str) -> None:
    with pytest.raises(CorruptArtifact):
        InputSpec.from_json(text)


def test_impossible_specs_are_refused() -> None:
    good = fit_input_spec(columns(), NAMES)
    for text in (
        good.to_json().replace("float32", "object"),
        good.to_json().replace('"shape":[5]', '"shape":[6]'),
        good.to_json().replace('"dog"', '"cat"'),
    ):
        with pytest.raises(CorruptArtifact):
            InputSpec.from_json(text)
    with pytest.raises(OutOfRange):
        fit_input_spec(columns().astype(np.int64), NAMES)
    with pytest.raises(OutOfRange):
        fit_input_spec(columns(1), NAMES)


def test_channels_last_gives_the_same_bits() -> None:
    last = np.ascontiguousarray(np.moveaxis(images(), 1, -1))
    first_spec = fit_input_spec(images(), NAMES)
    spec = fit_input_spec(last, NAMES, InputOptions(layout=CHANNELS_LAST))
    assert (spec.mean, spec.deviation, spec.input_shape) == (first_spec.mean, first_spec.deviation, (3, 8, 8))
    assert spec.prepare(last).equal(first_spec.prepare(images()))
    assert spec.digest() != first_spec.digest()


@pytest.mark.parametrize("size", [(4, 4), (13, 5), (8, 8)])
def test_a_resized_record_ignores_its_neighbours_and_the_threads(size: tuple[int, int]) -> None:
    spec = fit_input_spec(images(40), NAMES, InputOptions(size=size))
    together = spec.prepare(images(40))
    assert together.shape == (40, 3, *size)
    order = np.random.default_rng(1).permutation(40)
    assert spec.prepare(images(40)[order]).equal(together[torch.from_numpy(order)])
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        assert spec.prepare(images(40)[7:8])[0].equal(together[7])
    finally:
        torch.set_num_threads(threads)


def test_shrinking_averages_over_what_it_leaves_out() -> None:
    """Without antialiasing, every other pixel of a checkerboard would decide."""
    board = np.indices((16, 16)).sum(axis=0) % 2 * np.float32(2)
    spec = InputSpec((1, 16, 16), "float32", (0.0,), (1.0,), NAMES, size=(4, 4))
    assert (spec.prepare(board[None, None].astype(np.float32)) - 1).abs().max() < 0.1
    even = np.full((1, 1, 16, 16), 3, np.float32)
    assert (spec.prepare(even) - 3).abs().max() < 1e-5


def test_missing_values_become_the_cores_mean_where_the_spec_says_so() -> None:
    x = columns()
    x[3, 1] = x[4, 1] = x[3, 2] = np.nan
    with pytest.raises(NonFinite):
        fit_input_spec(x, NAMES)
    spec = fit_input_spec(x, NAMES, InputOptions(missing=CORE_MEAN))
    there = np.delete(x[:, 1].astype(np.float64), [3, 4])
    assert spec.mean[1] == pytest.approx(there.mean(), rel=1e-12)
    prepared = spec.prepare(x)
    assert prepared[3, 1] == prepared[4, 1] == prepared[3, 2] == 0
    assert prepared.count_nonzero() == x.size - 3
    infinite = x.copy()
    infinite[0, 0] = np.inf
    with pytest.raises(NonFinite):
        spec.prepare(infinite)
    x[:, 4] = np.nan
    with pytest.raises(OutOfRange, match="without a value"):
        fit_input_spec(x, NAMES, InputOptions(missing=CORE_MEAN))


def test_given_mean_and_deviation_are_taken() -> None:
    given = InputOptions(mean=(1.0, 2.0, 3.0), deviation=(2.0, 2.0, 4.0))
    spec = fit_input_spec(images(), NAMES, given)
    assert spec.prepare(images())[0, 2, 0, 0] == (np.float32(images()[0, 2, 0, 0]) - 3) / 4
    for mean, deviation in (((1.0,), (1.0,)), ((1.0, 2.0, 3.0), None), (None, (1.0, 1.0, 1.0))):
        with pytest.raises((ShapeMismatch, OutOfRange)):
            fit_input_spec(images(), NAMES, InputOptions(mean=mean, deviation=deviation))


def test_options_round_trip_and_are_hashed() -> None:
    plain = fit_input_spec(columns(), NAMES)
    assert set(json.loads(plain.to_json())) == {"shape", "dtype", "mean", "deviation", "class_names"}
    chosen = InputOptions(missing=CORE_MEAN, columns=("a", "b", "c", "d", "e"))
    for spec in (
        fit_input_spec(columns(), NAMES, chosen),
        fit_input_spec(images(), NAMES, InputOptions(size=(4, 6))),
        fit_input_spec(np.moveaxis(images(), 1, -1), NAMES, InputOptions(layout=CHANNELS_LAST, size=(4, 6))),
    ):
        assert InputSpec.from_json(spec.to_json()) == spec
    other_order = dataclasses.replace(fit_input_spec(columns(), NAMES, chosen), columns=("b", "a", "c", "d", "e"))
    assert len({plain.digest(), other_order.digest(), fit_input_spec(columns(), NAMES, chosen).digest()}) == 3


@pytest.mark.parametrize(
    ("x", "options"),
    [
        (columns(), InputOptions(layout=CHANNELS_LAST)),
        (columns(), InputOptions(layout="mixed")),
        (columns(), InputOptions(size=(4, 4))),
        (columns(), InputOptions(missing="zero")),
        (columns(), InputOptions(columns=("a",))),
        (columns(), InputOptions(columns=("a", "b", "c", "d", "a"))),
        (images(), InputOptions(missing=CORE_MEAN)),
        (images(), InputOptions(size=(0, 4))),
        (images(), InputOptions(size=(4, 5000))),
        (images(), InputOptions(columns=("a", "b", "c"))),
    ],
)
def test_options_that_do_not_fit_the_records_are_refused(x: np.ndarray, options: InputOptions) -> None:
    with pytest.raises(OutOfRange):
        fit_input_spec(x, NAMES, options)
