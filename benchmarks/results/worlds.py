"""A trained public core with everybody's activations: what every part starts from, made once per data set and seed."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmarks.results.data import Deal, Part
from unlearning.architectures import Activations
from unlearning.core_training import BATCH_SIZE
from unlearning.extraction import PADDED_BATCH, extract_padded
from unlearning.feature_maps import ActivationMap, core_activations, fit_feature_map
from unlearning.public_model import DEFAULT_ALPHA, PublicModel, assemble, fit_public_model
from unlearning.quantization import plan_quantization
from unlearning.rows import QuantizedRows

ARCHITECTURE = "small-cnn"
CORE_STEPS = 540
"""Batches that train a core, about; more records take fewer epochs."""
FEWEST_EPOCHS, MOST_EPOCHS = 8, 60


@dataclass(frozen=True)
class World:
    """One seed: the deal, the core network with the head map, and what the network makes of users and test records."""

    deal: Deal
    model: PublicModel
    users: Activations
    test: Activations
    stem: Path | None = None
    """How names of cached files begin; None: nothing is cached."""

    @property
    def seed(self) -> int:
        """Return the seed of the deal and of everything drawn for it."""
        return self.deal.seed

    def inputs(self, part: Part) -> Tensor:
        """Return prepared inputs (n, channels, height, width)."""
        return self.model.input_spec.prepare(part.x)

    def labels(self, part: Part) -> Tensor:
        """Return labels (n,) int64."""
        return torch.from_numpy(part.y.astype(np.int64))


@dataclass(frozen=True)
class Mapped:
    """A feature map on the world's core network, and the integers that records become under it."""

    model: PublicModel
    core: QuantizedRows
    users: QuantizedRows
    test: QuantizedRows


def make_world(deal: Deal, *, epochs: int | None = None, cache: Path | None = None) -> World:
    """Train the core on the deal's core records and pass users and test records through; `cache` keeps both.

    What is cached is found by data set, sizes, classes, epochs and seed.
    """
    batches = -(-deal.core.count // BATCH_SIZE)
    chosen = epochs or min(MOST_EPOCHS, max(FEWEST_EPOCHS, CORE_STEPS // batches))
    classes = "-".join(str(len(np.unique(part.y))) for part in (deal.core, deal.users))
    sizes = "-".join(str(part.count) for part in (deal.core, deal.users, deal.test))
    stem = None if cache is None else cache / f"{deal.name}-{sizes}-{classes}-{chosen}-{deal.seed}"
    trained = beside(stem, "core")
    if trained is not None and trained.exists():
        model = PublicModel.from_bytes(trained.read_bytes())
    else:
        model = fit_public_model(
            deal.core.x,
            deal.core.y,
            class_names=deal.class_names,
            architecture=ARCHITECTURE,
            feature_map="head",
            epochs=chosen,
            seed=deal.seed,
        )
        if trained is not None:
            trained.parent.mkdir(parents=True, exist_ok=True)
            trained.write_bytes(model.to_bytes())
    users, test = (
        activations_of(model, part, beside(stem, name)) for name, part in (("users", deal.users), ("test", deal.test))
    )
    return World(deal, model, users, test, stem)


def beside(stem: Path | None, name: str) -> Path | None:
    """Return the name of one cached file of a world."""
    return None if stem is None else stem.with_name(f"{stem.name}.{name}.safetensors")


def activations_of(model: PublicModel, part: Part, path: Path | None) -> Activations:
    """Return the activations of raw records, from the file if it exists, else computed and written to it."""
    if path is not None and path.exists():
        held = load_file(path)
        pooled = tuple(held[name] for name in sorted(held) if name.startswith("pooled"))
        return Activations(pooled, held["penultimate"], held["logits"])
    made = core_activations(model.network, model.input_spec.prepare(part.x))
    if path is not None:
        layers = {f"pooled {number}": layer.contiguous() for number, layer in enumerate(made.pooled)}
        save_file(layers | {"penultimate": made.penultimate.clone(), "logits": made.logits.contiguous()}, path)
    return made


def mapped(world: World, name: str, *, width: int | None = None, alpha: float = DEFAULT_ALPHA) -> Mapped:
    """Fit another feature map on the same core network and quantize users and test records under it."""
    network, spec = world.model.network, world.model.input_spec
    inputs = world.inputs(world.deal.core)
    generator = torch.Generator().manual_seed(world.seed)
    fitted = fit_feature_map(name, network, inputs, width=width, generator=generator)
    phi, logits = extract_padded(network, fitted, inputs, PADDED_BATCH)
    plan = plan_quantization(phi, logits, alpha=alpha, classes=world.model.classes)
    model = assemble(network, ARCHITECTURE, spec, fitted, plan)
    labels = world.deal.core.y.astype(np.int32)
    core = QuantizedRows(plan.quantize_phi(phi), plan.quantize_core_output(logits), labels)
    parts = (("users", world.users, world.deal.users), ("test", world.test, world.deal.test))
    users, test = (
        quantized(model, activations, part, beside(world.stem, f"{name}-{model.width}.{which}"))
        for which, activations, part in parts
    )
    return Mapped(model, core, users, test)


def quantized(model: PublicModel, activations: Activations, part: Part, path: Path | None) -> QuantizedRows:
    """Return the integers of records; where the map reads activations, those that are known are used.

    Other maps need a pass through the network, whose result is kept in the file.
    """
    feature_map = model.feature_map
    if isinstance(feature_map, ActivationMap):
        with torch.inference_mode():
            phi = feature_map.phi(activations).numpy()
        core_output = model.plan.quantize_core_output(activations.logits.numpy())
        return QuantizedRows(model.plan.quantize_phi(phi), core_output, part.y.astype(np.int32))
    if path is not None and path.exists():
        held = load_file(path)
        return QuantizedRows(held["phi"].numpy(), held["core"].numpy(), held["labels"].numpy())
    rows = model.extract(part.x, part.y)
    if path is not None:
        arrays = {"phi": rows.phi, "core": rows.core_output, "labels": rows.labels}
        save_file({name: torch.from_numpy(values) for name, values in arrays.items()}, path)
    return rows
