"""Digests of the parts of models that were made before the ledger kept them."""

from __future__ import annotations

from collections.abc import Sequence

from ledger import certificates
from ledger.tables import Model
from workers import models
from workers.deps import Deps


def complete(deps: Deps, request_ids: Sequence[str]) -> None:
    """Note the digests of the parts of every model that these requests' certificates will name and that has none.

    Raises what loading a public part does.
    """
    with deps.ledger.database.read() as tx:
        found = certificates.models_without_digests(tx, request_ids)
    for model_id in found:
        digests = models.load_public(deps, model_id).digests()
        with deps.ledger.database.begin() as tx:
            tx.session.get_one(Model, model_id).public_digests = digests
