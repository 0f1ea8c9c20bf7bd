"""A model version in memory, and how it gets there."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ledger import artifacts
from ledger.ledger import Ledger
from ledger.serving import Servable
from unlearning.architectures import BUILT_IN, Architectures
from unlearning.errors import ShapeMismatch
from unlearning.pass_sizes import equal_sizes, predict_in
from unlearning.public_model import SELF_CHECK_SEED, PublicModel
from unlearning.weights import weights_from_bytes

QUICK_S = 1e-3
TABLES, ALL, NONE = "tables", "all", "none"


@dataclass(frozen=True, slots=True, eq=False)
class ServedModel:
    """Everything needed to answer from one version of a generation, `model_id`, of the line that queries name.

    `name` is the line's. `public_object` names the object the public part came from. `sizes` are those of a forward
    pass in which records of several queries may stand together; empty: every query is computed by itself. `quick`: the
    smallest of them takes less than QUICK_S.
    """

    tenant_id: str
    line_id: str
    model_id: str
    number: int
    public_object: str
    public: PublicModel
    weights: npt.NDArray[Any]
    name: str = ""
    sizes: tuple[int, ...] = ()
    quick: bool = False


def load(
    ledger: Ledger,
    wanted: Servable,
    before: ServedModel | None,
    architectures: Architectures = BUILT_IN,
    together: str = TABLES,
) -> ServedModel:
    """Read a version from the store; the public part of the version served `before` is used again if it is the same.

    `together`: of which models queries are computed together, TABLES, ALL or NONE.

    Raises ObjectMissing, ObjectCorrupt, StoreFailed, CorruptArtifact, ShapeMismatch; UnknownArchitecture,
    ArchitectureRefused: the operator's network is no longer on the list, or has changed.
    """
    _, body = artifacts.open_artifact(
        ledger,
        wanted.weights_object,
        artifacts.weights_context(wanted.model_id),
        committed=wanted.weights_commitment,
    )
    if before is not None and before.public_object == wanted.public_object:
        public, sizes, quick = before.public, before.sizes, before.quick
    else:
        public = PublicModel.from_bytes(
            artifacts.open_public(ledger, wanted.public_object, wanted.model_id), architectures
        )
        sizes = pass_sizes(public, together)
        quick = is_quick(public, sizes)
    weights = weights_from_bytes(body)
    if weights.shape != public.weight_shape:
        raise ShapeMismatch("weights", weights.shape, public.weight_shape)
    return ServedModel(
        wanted.tenant_id,
        wanted.line_id,
        wanted.model_id,
        wanted.number,
        wanted.public_object,
        public,
        weights,
        wanted.name,
        sizes,
        quick,
    )


def pass_sizes(public: PublicModel, together: str) -> tuple[int, ...]:
    """Return the sizes of passes in which queries may stand together, empty if they may not.

    A lone record is then computed in the smallest of them. For a table that costs next to nothing; of an image it would
    cost several times one image, so images are computed together only where the operator says so.
    """
    if together == NONE or (together == TABLES and len(public.input_spec.shape) != 1):
        return ()
    torch.get_num_threads()  # as many as the passes will have: kernels depend on it
    return equal_sizes(public, torch.Generator().manual_seed(SELF_CHECK_SEED))


def is_quick(public: PublicModel, sizes: tuple[int, ...]) -> bool:
    """Whether the smallest pass takes less than QUICK_S: the best of a few, as the machine may be busy."""
    if not sizes:
        return False
    inputs, weights, took = torch.zeros(1, *public.input_spec.input_shape), np.zeros(public.weight_shape), []
    for _ in range(5):
        started = time.perf_counter()
        predict_in(public, weights, inputs, sizes)
        took.append(time.perf_counter() - started)
    return min(took) < QUICK_S
