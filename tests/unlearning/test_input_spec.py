"""Raw records to network inputs."""

import numpy as np
import pytest

from unlearning.errors import CorruptArtifact, NonFinite, OutOfRange, ShapeMismatch
from unlearning.input_spec import InputSpec, fit_input_spec

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
