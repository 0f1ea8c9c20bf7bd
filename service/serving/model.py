"""A model version in memory, and how it gets there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from ledger import artifacts
from ledger.ledger import Ledger
from ledger.serving import Servable
from unlearning.architectures import BUILT_IN, Architectures
from unlearning.errors import ShapeMismatch
from unlearning.public_model import PublicModel
from unlearning.weights import weights_from_bytes


@dataclass(frozen=True, slots=True, eq=False)
class ServedModel:
    """Everything needed to answer from one version of a generation, `model_id`, of the line that queries name.

    `public_object` names the object the public part came from.
    """

    tenant_id: str
    line_id: str
    model_id: str
    number: int
    public_object: str
    public: PublicModel
    weights: npt.NDArray[Any]


def load(
    ledger: Ledger, wanted: Servable, before: ServedModel | None, architectures: Architectures = BUILT_IN
) -> ServedModel:
    """Read a version from the store; the public part of the version served `before` is used again if it is the same.

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
        public = before.public
    else:
        public = PublicModel.from_bytes(
            artifacts.open_public(ledger, wanted.public_object, wanted.model_id), architectures
        )
    weights = weights_from_bytes(body)
    if weights.shape != public.weight_shape:
        raise ShapeMismatch("weights", weights.shape, public.weight_shape)
    return ServedModel(
        wanted.tenant_id, wanted.line_id, wanted.model_id, wanted.number, wanted.public_object, public, weights
    )
