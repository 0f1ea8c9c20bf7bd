"""Public models on imported cores: heads, options, and one way of preparing records."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save
from torch import Tensor, nn

from unlearning.architectures import Activations, Architectures, CoreNetwork, build_network
from unlearning.errors import ArchitectureRefused, CoreRefused, CorruptArtifact, OutOfRange, UnknownArchitecture
from unlearning.head_fit import fit_head
from unlearning.imported_core import KEEP, RETRAIN, ImportedCore, check_core
from unlearning.input_spec import CHANNELS_LAST, CORE_MEAN, InputOptions
from unlearning.prediction import predict_logits
from unlearning.public_model import PublicModel, fit_public_model
from unlearning.rows import pack

SHAPE = (2, 8, 8)


def tiny(shape: tuple[int, ...], classes: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(shape[0], 6, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
                         nn.Linear(24, 10), nn.ReLU(), nn.Linear(10, classes))  # fmt: skip


ALLOWED = Architectures({"tiny": tiny})


def weights(classes: int, name: str = "tiny", seed: int = 4) -> bytes:
    made = ALLOWED.build(name, SHAPE, classes, torch.Generator().manual_seed(seed))
    return save({key: tensor.contiguous() for key, tensor in made.named.state_dict().items()})


def core_records(n: int = 60) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    y = np.arange(n) % 3
    x = generator.normal(0, 40, (n, *SHAPE)) + 40 * y[:, None, None, None] + 60
    return x.clip(0, 255).astype(np.uint8), y


def fitted(core: ImportedCore, x: np.ndarray | None = None, **changes: Any) -> PublicModel:
    records, y = core_records()
    arguments: dict[str, Any] = {
        "class_names": ("a", "b", "c"), "architecture": "tiny", "feature_map": "pooled", "capacity": 1000, "seed": 1,
        "architectures": ALLOWED,
    }  # fmt: skip
    return fit_public_model(records if x is None else x, y, imported=core, **(arguments | changes))


def test_a_kept_head_is_the_file_to_the_last_bit() -> None:
    model = fitted(ImportedCore(weights(3), 3, KEEP))
    state = ALLOWED.build("tiny", SHAPE, 3, torch.Generator().manual_seed(4)).named.state_dict()
    assert all(tensor.equal(state[name]) for name, tensor in model.network.named.state_dict().items())
    with pytest.raises(OutOfRange, match="kept head"):
        fitted(ImportedCore(weights(7), 7, KEEP))
    with pytest.raises(OutOfRange, match="head"):
        fitted(ImportedCore(weights(3), 3, "guess"))


def test_a_retrained_head_keeps_the_backbone_and_fits_the_core() -> None:
    model = fitted(ImportedCore(weights(7), 7, RETRAIN), alpha=5.0)
    state = ALLOWED.build("tiny", SHAPE, 7, torch.Generator().manual_seed(4)).named.state_dict()
    found = model.network.named.state_dict()
    assert all(found[name].equal(tensor) for name, tensor in state.items() if not name.startswith("6."))
    assert found["6.weight"].shape == (3, 10)
    x, y = core_records()
    with torch.inference_mode():
        logits = model.network(model.input_spec.prepare(x))
    assert (logits.argmax(dim=1).numpy() == y).mean() >= 0.85  # by chance 0.33
    assert fitted(ImportedCore(weights(7), 7, RETRAIN)).to_bytes() == model.to_bytes()


def test_the_head_is_the_ridge_regression() -> None:
    """Against the normal equations solved directly, at whichever strength explains the result."""
    generator = torch.Generator().manual_seed(0)
    h = torch.randn(50, 6, generator=generator) * torch.tensor([1.0, 10, 0.1, 1, 1, 0]) + 3
    labels = torch.arange(50) % 2
    weight, bias = fit_head(h, labels, 2, 5.0)
    assert weight.shape == (2, 6)
    assert weight[:, 5].abs().max() == 0  # constant on the core: says nothing
    z = (h[:, :5].double() - h[:, :5].double().mean(0)) / h[:, :5].double().std(0, correction=0)
    targets = 5.0 * torch.nn.functional.one_hot(labels, 2).double()
    unit = float(torch.linalg.eigvalsh(z.T @ z / 50).sum()) / 6
    errors = []
    for power in range(-6, 3):
        A = z.T @ z / 50 + 10.0**power * unit * torch.eye(5, dtype=torch.float64)
        direct = torch.linalg.solve(A, z.T @ (targets - targets.mean(0)) / 50)
        expected = z @ direct + targets.mean(0)
        errors.append(float((h.double() @ weight.double().T + bias.double() - expected).abs().max()))
    assert min(errors) < 1e-5 < sorted(errors)[2]


def test_the_strength_has_the_smallest_cross_validation_error() -> None:
    """Against the hat matrix of the regression, its column for the intercept included (that one decides sometimes)."""
    without_intercept = 0
    for seed in range(12):
        generator = torch.Generator().manual_seed(seed)
        h = torch.randn(9, 6, generator=generator, dtype=torch.float64)
        labels = torch.randint(0, 2, (9,), generator=generator)
        labels[:2] = torch.tensor([0, 1])
        weight, bias = fit_head(h, labels, 2, 1.0)
        targets = torch.nn.functional.one_hot(labels, 2).double()
        z = (h - h.mean(0)) / h.std(0, correction=0)
        mean = torch.full((9, 9), 1 / 9, dtype=torch.float64)
        errors, shorter, answers = [], [], []
        for power in range(-6, 3):
            penalty = 9 * 10.0**power * torch.eye(6, dtype=torch.float64)  # z has unit variance, so the unit is 1
            hat = mean + z @ torch.linalg.solve(z.T @ z + penalty, z.T)
            answers.append(hat @ targets)
            squares = float((targets - answers[-1]).square().sum())
            errors.append(squares / (1 - float(hat.trace()) / 9) ** 2)
            shorter.append(squares / (1 - float((hat - mean).trace()) / 9) ** 2)
        best = int(np.argmin(errors))
        without_intercept += int(np.argmin(shorter)) != best
        torch.testing.assert_close(h @ weight.double().T + bias.double(), answers[best], rtol=0, atol=1e-4)
    assert without_intercept, "it has to matter somewhere"


def test_features_that_say_nothing_are_refused() -> None:
    with pytest.raises(OutOfRange, match="features"):
        fit_head(torch.ones(10, 3), torch.arange(10) % 2, 2, 5.0)


def test_bytes_need_the_allow_list_to_be_read_back() -> None:
    model = fitted(ImportedCore(weights(3), 3, KEEP), leaky=True)
    restored = PublicModel.from_bytes(model.to_bytes(), ALLOWED)
    assert restored.leaky
    assert restored.digest() == model.digest() != fitted(ImportedCore(weights(3), 3, KEEP)).digest()
    x, y = core_records()
    assert pack(restored.extract(x, y)) == pack(model.extract(x, y))
    with pytest.raises(UnknownArchitecture):
        PublicModel.from_bytes(model.to_bytes())
    changed = Architectures({"tiny": lambda shape, classes: nn.Conv2d(2, 3, 8)})
    with pytest.raises(ArchitectureRefused):
        PublicModel.from_bytes(model.to_bytes(), changed)
    smaller = Architectures(
        {"tiny": lambda shape, classes: nn.Sequential(nn.Flatten(), nn.ReLU(), nn.Linear(128, classes))}
    )
    with pytest.raises(CorruptArtifact):
        PublicModel.from_bytes(model.to_bytes(), smaller)


def test_an_import_must_give_finite_outputs() -> None:
    state = ALLOWED.build("tiny", SHAPE, 3, torch.Generator().manual_seed(4)).named.state_dict()
    large = save({name: torch.full_like(tensor, 1e30) for name, tensor in state.items()})
    with pytest.raises(CoreRefused, match="outputs"):
        check_core(large, ALLOWED, "tiny", SHAPE, 3, leaky=False)


def test_built_in_networks_are_imported_too() -> None:
    source = build_network("all-cnn", SHAPE, 9, torch.Generator().manual_seed(2))
    model = fitted(ImportedCore(save(source.state_dict()), 9, RETRAIN), architecture="all-cnn", leaky=True)
    assert model.classes == 3
    assert PublicModel.from_bytes(model.to_bytes()).digest() == model.digest()


class Watching(CoreNetwork):
    """Writes down what the network is given."""

    def __init__(self, inner: CoreNetwork) -> None:
        super().__init__()
        self.inner = inner
        self.given: list[Tensor] = []

    def activations(self, x: Tensor) -> Activations:
        self.given.append(x.clone())
        return self.inner.activations(x)


@pytest.mark.parametrize("case", ["plain", "resized", "channels_last"])
def test_ingestion_and_prediction_see_the_same_prepared_bits(case: str) -> None:
    records, y = core_records()
    if case == "plain":
        options = InputOptions(mean=(60.0, 61.0), deviation=(40.0, 41.5))
    elif case == "resized":
        records = np.repeat(records, 2, axis=2)[:, :, :13]
        options = InputOptions(size=(8, 8))
    else:
        records = np.ascontiguousarray(np.moveaxis(records, 1, -1))
        options = InputOptions(layout=CHANNELS_LAST)
    assert_same_bits(fitted(ImportedCore(weights(3), 3, KEEP), records, options=options), records, y)


def test_the_same_for_tables_with_missing_values(table: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = table
    x = x.copy()
    x[::3, 2] = np.nan
    model = fit_public_model(
        x, y, class_names=("a", "b", "c"), architecture="mlp", feature_map="head", epochs=1, seed=1, capacity=1000,
        options=InputOptions(missing=CORE_MEAN),
    )  # fmt: skip
    assert_same_bits(model, x, y)


def assert_same_bits(model: PublicModel, x: np.ndarray, y: np.ndarray) -> None:
    watching = Watching(model.network)
    watched = dataclasses.replace(model, network=watching)
    watched.extract(x[:5], y[:5])
    ingested = torch.cat(watching.given)
    for row in (0, 3, 4):
        watching.given.clear()
        predict_logits(watched, np.zeros((model.width, model.classes)), x[row : row + 1])
        assert torch.cat(watching.given)[0].equal(ingested[row])
