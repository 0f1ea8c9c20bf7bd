"""Everything public of a model: core network, input spec, feature map, quantization. Made from core data only."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from unlearning.architectures import BUILT_IN, Architectures, CoreNetwork
from unlearning.core_training import CPU, EPOCHS, silent, train_core
from unlearning.errors import (
    ArchitectureRefused,
    CorruptArtifact,
    OutOfRange,
    ShapeMismatch,
    UnknownArchitecture,
    UnlearningError,
)
from unlearning.extraction import PADDED_BATCH, extract_padded, is_row_invariant
from unlearning.feature_maps import FeatureMap, fit_feature_map, restore_feature_map
from unlearning.imported_core import ImportedCore, imported_network
from unlearning.input_spec import InputOptions, InputSpec, fit_input_spec
from unlearning.model_artifact import ModelParts, content_digest, decode, encode
from unlearning.quantization import DEFAULT_CAPACITY, QuantizationPlan, plan_quantization
from unlearning.rows import QuantizedRows, row_bytes, unpack
from unlearning.statistics import Statistics

DEFAULT_ALPHA = 5.0
"""Target of the true class (dissertation, ch. 6)."""
SELF_CHECK_SEED = 20
"""Seeds the random inputs of the row-invariance check on loading; any value will do."""


@dataclass(frozen=True, slots=True, eq=False)
class PublicModel:
    """The public parts, and the batch shape found safe on this machine (not part of the bytes or the digest)."""

    network: CoreNetwork
    architecture: str
    input_spec: InputSpec
    feature_map: FeatureMap
    plan: QuantizationPlan
    extraction_batch: int = 1
    leaky: bool = False

    @property
    def width(self) -> int:
        """d, the bias column included."""
        return self.feature_map.width

    @property
    def classes(self) -> int:
        """C."""
        return self.plan.classes

    @property
    def weight_shape(self) -> tuple[int, int]:
        """Return (d, q), the shape of user weights: q is C, or 1 where every output has features of its own."""
        return self.width, self.plan.columns

    def no_rows(self) -> QuantizedRows:
        """Return the integers of no records."""
        return QuantizedRows.empty(self.width, self.classes, per_output=self.plan.per_output)

    def no_statistics(self) -> Statistics:
        """Return the statistics of no records."""
        return Statistics.zero(*self.weight_shape)

    @property
    def row_bytes(self) -> int:
        """Return the length of one packed record."""
        return row_bytes(self.width, self.classes, per_output=self.plan.per_output)

    def unpack(self, packed: Sequence[bytes]) -> QuantizedRows:
        """Read `rows.pack` of this model's records back. Raises CorruptArtifact."""
        return unpack(packed, self.width, self.classes, per_output=self.plan.per_output)

    def extract(self, x: npt.NDArray[np.generic], labels: npt.NDArray[np.integer]) -> QuantizedRows:
        """Return the integers of raw records x (n, *shape) with labels (n,) in 0 to C - 1.

        A record's integers depend neither on its neighbours nor on its row.
        Raises ShapeMismatch, NonFinite: as `InputSpec.prepare`; OutOfRange: a label.
        """
        if labels.shape != (x.shape[0],):
            raise ShapeMismatch("labels", labels.shape, (x.shape[0],))
        if labels.size and not 0 <= int(labels.min()) <= int(labels.max()) < self.classes:
            raise OutOfRange("label", (int(labels.min()), int(labels.max())), f"0 to {self.classes - 1}")
        inputs = self.input_spec.prepare(x)
        if not inputs.shape[0]:
            return self.no_rows()
        phi, logits = extract_padded(self.network, self.feature_map, inputs, self.extraction_batch)
        return QuantizedRows(
            self.plan.quantize_phi(phi), self.plan.quantize_core_output(logits), labels.astype(np.int32)
        )

    def to_bytes(self) -> bytes:
        """Return a safetensors file."""
        return encode(self._parts())

    def digest(self) -> str:
        """Return the SHA-256 of the content, in hex. Everything in it is public."""
        return content_digest(self._parts())

    def digests(self) -> dict[str, str]:
        """Return the SHA-256, in hex, of each part by itself: core (the network), map (with its scales), input_spec."""
        parts = self._parts()
        network, features = (
            {name: value for name, value in parts.config.items() if name in names}
            for names in (("architecture", "leaky"), ("feature_map", "plan"))
        )
        return {
            "core": content_digest(ModelParts(network, select(parts.tensors, "network."))),
            "map": content_digest(ModelParts(features, select(parts.tensors, "map."))),
            "input_spec": self.input_spec.digest(),
        }

    @classmethod
    def from_bytes(cls, data: bytes, architectures: Architectures = BUILT_IN) -> "PublicModel":
        """Read `to_bytes` back and measure the batch shape anew.

        Raises CorruptArtifact: truncated, changed, or parts that do not fit together; UnknownArchitecture,
        ArchitectureRefused: an operator's network that is no longer on the list, or has changed.
        """
        parts = decode(data)
        try:
            spec = InputSpec.from_json(str(parts.config["input_spec"]))
            fields = parts.config["plan"]
            if not isinstance(fields, dict):
                raise CorruptArtifact("public model", "the plan is not an object")
            plan = QuantizationPlan.from_fields({str(name): int(value) for name, value in fields.items()})
            name, leaky = str(parts.config["architecture"]), bool(parts.config.get("leaky", False))
            network = architectures.build(name, spec.input_shape, spec.classes, torch.Generator(), leaky=leaky)
            network.load_state_dict(select(parts.tensors, "network."))
            network.eval()
            feature_map = restore_feature_map(str(parts.config["feature_map"]), select(parts.tensors, "map."))
            return assemble(network, name, spec, feature_map, plan, leaky=leaky)
        except (CorruptArtifact, UnknownArchitecture, ArchitectureRefused):
            raise
        except (UnlearningError, RuntimeError, KeyError, TypeError, ValueError) as problem:
            raise CorruptArtifact("public model", str(problem)) from problem

    def _parts(self) -> ModelParts:
        config: dict[str, object] = {
            "architecture": self.architecture,
            "feature_map": self.feature_map.name,
            "input_spec": self.input_spec.to_json(),
            "plan": self.plan.to_fields(),
        }
        if self.leaky:
            config["leaky"] = True
        tensors = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        tensors |= {f"map.{name}": tensor for name, tensor in self.feature_map.to_tensors().items()}
        return ModelParts(config, tensors)


def select(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """Return the tensors under `prefix`, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def assemble(
    network: CoreNetwork,
    architecture: str,
    spec: InputSpec,
    feature_map: FeatureMap,
    plan: QuantizationPlan,
    *,
    leaky: bool = False,
) -> PublicModel:
    """Put parts together after one trial pass, and choose the padded batch if rows are invariant under it, else 1.

    Raises ShapeMismatch: parts that do not fit together.
    """
    careful = PublicModel(network, architecture, spec, feature_map, plan, leaky=leaky)
    trial = torch.zeros(1, *spec.input_shape)
    phi, logits = extract_padded(network, feature_map, trial, 1)
    wanted = (1, plan.classes, feature_map.width) if plan.per_output else (1, feature_map.width)
    if phi.shape != wanted or logits.shape != (1, plan.classes) or plan.classes != spec.classes:
        raise ShapeMismatch(
            "features, logits, classes", (phi.shape, logits.shape, spec.classes), (wanted, plan.classes)
        )
    if not row_invariant(careful, torch.Generator().manual_seed(SELF_CHECK_SEED)):
        return careful
    return replace(careful, extraction_batch=PADDED_BATCH)


def row_invariant(model: PublicModel, generator: torch.Generator) -> bool:
    """Whether the padded batch gives a record the same bits in every row and company, on this machine and threads."""
    return is_row_invariant(model.network, model.feature_map, model.input_spec.input_shape, generator)


def fit_public_model(
    x_core: npt.NDArray[np.generic],
    y_core: npt.NDArray[np.integer],
    *,
    class_names: tuple[str, ...],
    architecture: str,
    feature_map: str,
    width: int | None = None,
    bandwidth: float | None = None,
    alpha: float = DEFAULT_ALPHA,
    capacity: int = DEFAULT_CAPACITY,
    epochs: int = EPOCHS,
    seed: int,
    on_progress: Callable[[float], None] = silent,
    architectures: Architectures = BUILT_IN,
    leaky: bool = False,
    options: InputOptions | None = None,
    imported: ImportedCore | None = None,
    device: torch.device = CPU,
) -> PublicModel:
    """Fix every public constant from core records x_core (n, *shape), labels y_core (n,).

    The core network is trained on them, or `imported`. `width` is for nystrom and tangent maps; the others take
    theirs from the network. `bandwidth`, for nystrom, is a share of the median distance, 1 by default.
    `on_progress` gets the fraction done. `device` trains the network; features are always computed on the processor,
    since another device gives them other last bits.
    Raises OutOfRange, ShapeMismatch, NonFinite, UnknownArchitecture, ArchitectureRefused, UnknownFeatureMap,
    CoreRefused.
    """
    spec = fit_input_spec(x_core, class_names, options)
    if y_core.shape != (x_core.shape[0],):
        raise ShapeMismatch("labels", y_core.shape, (x_core.shape[0],))
    if not 0 <= int(y_core.min()) <= int(y_core.max()) < spec.classes:
        raise OutOfRange("label", (int(y_core.min()), int(y_core.max())), f"0 to {spec.classes - 1}")
    generator = torch.Generator().manual_seed(seed)
    inputs = spec.prepare(x_core)
    labels = torch.from_numpy(y_core.astype(np.int64))
    if imported is None:
        network = architectures.build(architecture, spec.input_shape, spec.classes, generator, leaky=leaky)
        train_core(
            network,
            inputs,
            labels,
            epochs=epochs,
            generator=generator,
            on_progress=lambda f: on_progress(0.9 * f),
            device=device,
        )
    else:
        network = imported_network(
            imported, architectures, architecture, inputs, labels, classes=spec.classes, alpha=alpha, leaky=leaky
        )
    fitted_map = fit_feature_map(feature_map, network, inputs, width=width, bandwidth=bandwidth, generator=generator)
    phi, logits = extract_padded(network, fitted_map, inputs, PADDED_BATCH)
    plan = plan_quantization(phi, logits, alpha=alpha, capacity=capacity, classes=spec.classes)
    model = assemble(network, architecture, spec, fitted_map, plan, leaky=leaky)
    on_progress(1.0)
    return model
