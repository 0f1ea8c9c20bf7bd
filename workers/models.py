"""Loading what a model is made of from the stores, checked against the ledger."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ledger import artifacts, inventory
from ledger.ledger import Ledger
from ledger.sealed import unseal
from ledger.tables import Model, ModelVersion
from unlearning.public_model import PublicModel
from unlearning.rows import QuantizedRows
from unlearning.statistics import Statistics
from unlearning.weights import weights_from_bytes
from workers.deps import Deps
from workers.errors import CheckFailed


def load_public(deps: Deps, model_id: str) -> PublicModel:
    """Return a model's public part.

    Raises ObjectMissing, ObjectCorrupt, CorruptArtifact, CheckFailed; UnknownArchitecture, ArchitectureRefused: its
    network is no longer on the operator's list, or has changed.
    """
    ledger = deps.ledger
    with ledger.database.read() as tx:
        row = tx.session.get_one(Model, model_id)
    assert row.public_object is not None
    public = PublicModel.from_bytes(artifacts.open_public(ledger, row.public_object, model_id), deps.architectures)
    if public.digest() != row.public_digest:
        raise CheckFailed("public model", "the stored public part is not the one that the ledger names")
    return public


def load_statistics(ledger: Ledger, version: ModelVersion) -> Statistics:
    """Return a version's statistics, which must be the ones that it committed to. Raises ObjectCorrupt."""
    context = artifacts.statistics_context(version.model_id)
    return Statistics.from_bytes(_opened(ledger, version.statistics_object, context, version.statistics_commitment))


def load_weights(ledger: Ledger, version: ModelVersion) -> npt.NDArray[np.float64]:
    """Return a version's published weights, which must be the ones that it committed to. Raises ObjectCorrupt."""
    context = artifacts.weights_context(version.model_id)
    return weights_from_bytes(_opened(ledger, version.weights_object, context, version.weights_commitment))


def _opened(ledger: Ledger, name: str | None, context: bytes, committed: str) -> bytes:
    assert name is not None
    return artifacts.open_artifact(ledger, name, context, committed=committed)[1]


def load_evaluation(ledger: Ledger, model: Model, public: PublicModel) -> QuantizedRows | None:
    """Return the quantized rows of the model's evaluation cohort, or None when it has none."""
    if model.evaluation_object is None:
        return None
    body = unseal(
        inventory.read(ledger.database, ledger.objects, model.evaluation_object),
        ring=ledger.ring,
        context=artifacts.evaluation_context(model.id),
        name=model.evaluation_object,
    )
    length = public.row_bytes
    return public.unpack([body[i : i + length] for i in range(0, len(body), length)])
