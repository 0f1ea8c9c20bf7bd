"""From a file of weights to a network with the classes of the core cohort."""

from dataclasses import dataclass

import torch
from torch import Tensor

from unlearning.architectures import Architectures, CoreNetwork
from unlearning.core_weights import copy_backbone, load_core, set_output_layer
from unlearning.errors import CoreRefused, OutOfRange
from unlearning.feature_maps import core_activations
from unlearning.head_fit import fit_head

KEEP, RETRAIN = "keep", "retrain"
TRIAL_SEED = 23
"""Seeds the random inputs on which an imported network must give finite outputs; any value will do."""


@dataclass(frozen=True, slots=True, eq=False)
class ImportedCore:
    """A file of weights and how to use it.

    data: safetensors. outputs: how many classes the network has in the file. head: KEEP its output layer, or RETRAIN
    it on the core cohort.
    """

    data: bytes
    outputs: int
    head: str


def check_core(
    data: bytes, architectures: Architectures, name: str, input_shape: tuple[int, ...], outputs: int, *, leaky: bool
) -> CoreNetwork:
    """Return the network that a file of weights is for, filled and tried on random inputs.

    Raises CoreRefused; UnknownArchitecture, ArchitectureRefused, OutOfRange: as `Architectures.build`.
    """
    network = architectures.build(name, input_shape, outputs, torch.Generator(), leaky=leaky)
    load_core(network, data)
    with torch.inference_mode():
        logits = network(torch.randn(2, *input_shape, generator=torch.Generator().manual_seed(TRIAL_SEED)))
    if not bool(torch.isfinite(logits).all()):
        raise CoreRefused(
            "its outputs for ordinary inputs are NaN or infinite", "Check the weights where they were made"
        )
    return network


def check_head(head: str, *, outputs: int, classes: int) -> None:
    """Raises OutOfRange: a head that is neither kept nor retrained, or is kept and has other classes."""
    if head not in (KEEP, RETRAIN):
        raise OutOfRange("head", head, f"{KEEP} or {RETRAIN}")
    if head == KEEP and outputs != classes:
        raise OutOfRange("classes of the kept head", outputs, f"{classes}, as the cohort has, or head {RETRAIN}")


def imported_network(
    core: ImportedCore,
    architectures: Architectures,
    name: str,
    inputs: Tensor,
    labels: Tensor,
    *,
    classes: int,
    alpha: float,
    leaky: bool,
) -> CoreNetwork:
    """Return the imported network with `classes` outputs, in evaluation mode.

    A retrained head is the ridge regression (`head_fit.fit_head`) from the penultimate activations of the core inputs
    (n, *input_shape) to alpha * onehot(labels), the targets of the user weights; the backbone stays as it came.
    Raises as `check_core` and `check_head`.
    """
    check_head(core.head, outputs=core.outputs, classes=classes)
    shape = tuple(inputs.shape[1:])
    network = check_core(core.data, architectures, name, shape, core.outputs, leaky=leaky)
    if core.head == KEEP:
        return network
    target = architectures.build(name, shape, classes, torch.Generator(), leaky=leaky)
    copy_backbone(network, target)
    weight, bias = fit_head(core_activations(target, inputs).penultimate, labels, classes, alpha)
    set_output_layer(target.output_layer, weight, bias)
    return target
