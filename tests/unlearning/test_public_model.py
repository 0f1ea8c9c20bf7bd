"""The public model: integers that ignore company, bytes that ignore nothing."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unlearning.architectures import Activations, CoreNetwork
from unlearning.errors import CorruptArtifact, NonFinite, OutOfRange, ShapeMismatch
from unlearning.extraction import PADDED_BATCH
from unlearning.model_artifact import decode, encode
from unlearning.public_model import PublicModel, assemble, fit_public_model, row_invariant
from unlearning.rows import pack

Table = tuple[np.ndarray, np.ndarray]


def image_records(n: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (n, 1, 8, 8)).astype(np.uint8)


def test_a_records_integers_ignore_neighbours_and_row(table: Table, table_model: PublicModel) -> None:
    x, y = table
    together = pack(table_model.extract(x, y))
    order = np.random.default_rng(2).permutation(len(x))
    assert pack(table_model.extract(x[order], y[order])) == [together[i] for i in order]
    alone = [pack(table_model.extract(x[i : i + 1], y[i : i + 1]))[0] for i in range(0, 200, 23)]
    assert alone == [together[i] for i in range(0, 200, 23)]


def test_the_same_for_images(image_model: PublicModel) -> None:
    x, y = image_records(70), np.zeros(70, np.int64)
    together = pack(image_model.extract(x, y))
    assert pack(image_model.extract(x[::-1], y)) == together[::-1]
    assert pack(image_model.extract(x[66:67], y[:1]))[0] == together[66]


@pytest.mark.parametrize("leak", ["neighbours", "row"])
def test_what_is_not_row_invariant_goes_one_by_one(table: Table, table_model: PublicModel, leak: str) -> None:
    """Negative control of the invariance check: networks whose output leaks the neighbours, or one row's number."""
    leaky = Leaky(table_model.network, leak)
    model = assemble(leaky, "mlp", table_model.input_spec, table_model.feature_map, table_model.plan)
    assert not row_invariant(model, torch.Generator().manual_seed(0))
    assert model.extraction_batch == 1
    x, y = table
    together = pack(model.extract(x[:5], y[:5]))
    assert pack(model.extract(x[3:4], y[3:4]))[0] == together[3]


class Leaky(CoreNetwork):
    """Adds a trace of the batch's mean to every logit, or something to row 40 only."""

    def __init__(self, inner: CoreNetwork, leak: str) -> None:
        super().__init__()
        self.inner = inner
        self.leak = leak

    def activations(self, x: torch.Tensor) -> Activations:
        clean = self.inner.activations(x)
        trace = 1e-3 * x.mean() if self.leak == "neighbours" else 1e-3 * (torch.arange(len(x)) == 40).unsqueeze(1)
        return dataclasses.replace(clean, logits=clean.logits + trace)


def test_padded_batches_are_used_where_rows_are_invariant(table_model: PublicModel, image_model: PublicModel) -> None:
    for model in (table_model, image_model):
        invariant = row_invariant(model, torch.Generator().manual_seed(9))
        assert model.extraction_batch == (PADDED_BATCH if invariant else 1)


def test_bytes_round_trip(table: Table, table_model: PublicModel, image_model: PublicModel) -> None:
    for model in (table_model, image_model):
        data = model.to_bytes()
        restored = PublicModel.from_bytes(data)
        assert restored.to_bytes() == data
        assert restored.digest() == model.digest()
        assert (restored.width, restored.classes) == (model.width, model.classes)
    x, y = table
    restored = PublicModel.from_bytes(table_model.to_bytes())
    assert pack(restored.extract(x, y)) == pack(table_model.extract(x, y))
    assert table_model.digest() != image_model.digest()


@given(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
@settings(max_examples=60, deadline=None)
def test_a_flipped_bit_is_corrupt_or_harmless(table_model: PublicModel, where: float, bit: int) -> None:
    data = bytearray(table_model.to_bytes())
    data[int(where * len(data))] ^= 1 << bit
    try:
        restored = PublicModel.from_bytes(bytes(data))
    except CorruptArtifact:
        return
    assert restored.digest() == table_model.digest()


def test_a_flipped_bit_of_a_tensor_is_corrupt(table_model: PublicModel) -> None:
    data = bytearray(table_model.to_bytes())
    data[-1000] ^= 1
    with pytest.raises(CorruptArtifact, match="digest"):
        PublicModel.from_bytes(bytes(data))


def test_truncated_and_foreign_bytes_are_corrupt(table_model: PublicModel) -> None:
    data = table_model.to_bytes()
    for broken in (b"", data[:7], data[:200], data[:-1], data + b"\0", b"\x80\x04N.", b"{}" * 20):
        with pytest.raises(CorruptArtifact):
            PublicModel.from_bytes(broken)


@pytest.mark.parametrize("change", ["architecture", "feature_map", "plan", "input_spec", "network", "map", "missing"])
def test_parts_that_do_not_fit_together_are_corrupt(table_model: PublicModel, change: str) -> None:
    """Files with a right digest and wrong content, as a careless importer would write them."""
    parts = decode(table_model.to_bytes())
    config, tensors = dict(parts.config), dict(parts.tensors)
    if change == "architecture":
        config["architecture"] = "small-cnn"
    elif change == "feature_map":
        config["feature_map"] = "head"
    elif change == "plan":
        config["plan"] = {**table_model.plan.to_fields(), "classes": 4}
    elif change == "input_spec":
        config["input_spec"] = "{}"
    elif change == "network":
        tensors["network.output.bias"] = torch.zeros(4)
    elif change == "map":
        tensors["map.whitening"] = torch.zeros(3, 3)
    else:
        del config["plan"]
    with pytest.raises(CorruptArtifact):
        PublicModel.from_bytes(encode(dataclasses.replace(parts, config=config, tensors=tensors)))


def test_bad_records_and_labels_are_refused(table: Table, table_model: PublicModel) -> None:
    x, y = table
    broken = x[:3].copy()
    broken[1, 1] = np.nan
    with pytest.raises(NonFinite):
        table_model.extract(broken, y[:3])
    with pytest.raises(ShapeMismatch):
        table_model.extract(x[:3], y[:2])
    for label in (-1, 3):
        with pytest.raises(OutOfRange, match="label"):
            table_model.extract(x[:1], np.array([label]))
    assert table_model.extract(x[:0], y[:0]).count == 0


def test_the_seed_decides_everything(table: Table) -> None:
    x, y = table
    models = [
        fit_public_model(
            x[:40], y[:40], class_names=("a", "b", "c"), architecture="mlp", feature_map="head", epochs=2, seed=seed
        )
        for seed in (1, 1, 2)
    ]
    assert models[0].to_bytes() == models[1].to_bytes()
    assert models[0].digest() != models[2].digest()


def test_progress_ends_at_one(table: Table) -> None:
    x, y = table
    seen: list[float] = []
    fit_public_model(
        x[:40], y[:40], class_names=("a", "b", "c"), architecture="mlp", feature_map="pooled", epochs=3, seed=1,
        on_progress=seen.append,
    )  # fmt: skip
    assert seen == sorted(seen)
    assert seen[-1] == 1.0


def test_core_labels_are_checked(table: Table) -> None:
    x, y = table
    with pytest.raises(OutOfRange, match="label"):
        fit_public_model(x, y, class_names=("a", "b"), architecture="mlp", feature_map="head", seed=1)
    with pytest.raises(ShapeMismatch):
        fit_public_model(x, y[1:], class_names=("a", "b", "c"), architecture="mlp", feature_map="head", seed=1)
