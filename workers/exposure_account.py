"""The account of a model with an exposure budget: what its versions tell about the record that each is worst for.

A version is compared with the one that would have been published without that record. The worst records of all versions
are added up, though they may be different ones: so no record's own account has to be kept, and the sum errs on the safe
side. It stands in the version's `measured`, which dies with the version, and passes to the next one.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ledger import folding
from ledger.tables import Model, ModelVersion
from unlearning.errors import ExposureSpent
from unlearning.linear.statistics_problem import from_statistics
from unlearning.noise.covariance import Covariance
from unlearning.public_model import PublicModel
from unlearning.statistics import Statistics
from workers import exposing, noising, rows
from workers.deps import Deps
from workers.solving import Weights

KEY = "exposure"
"""In `measured`: nats over all published versions so far."""


def account(
    deps: Deps,
    model: Model,
    public: PublicModel,
    before: ModelVersion | None,
    statistics: Statistics,
    solved: Weights,
    upto: int,
) -> float:
    """Return the nats spent once the version up to `upto` is published: one pass over its records.

    Raises ExposureSpent: more than the budget; CheckFailed, LedgerError.
    """
    assert model.exposure_budget is not None
    spent = 0.0 if before is None else float((before.measured or {})[KEY])
    total = spent + worst(deps, model, public, statistics, solved, upto)
    if not total <= model.exposure_budget:
        raise ExposureSpent
    return total


def worst(deps: Deps, model: Model, public: PublicModel, statistics: Statistics, solved: Weights, upto: int) -> float:
    """Return the largest exposure of a record in this version; 0 without records, infinite if rounding decides it."""
    assert model.mu is not None
    if not statistics.count:
        return 0.0
    if statistics.count == 1:
        hessian = from_statistics(statistics, public.plan, model.mu).hessian()
        return of_only_record(hessian, solved, noising.covariance(model), model.mu)
    with deps.ledger.database.read() as tx:
        held = folding.held(tx, model.id, upto)
    found, _ = exposing.exposure(model, public, statistics, rows.read_groups(deps.ledger, model.id, public, held))
    return math.inf if found is None else found


def of_only_record(hessian: Tensor, solved: Weights, law: Covariance, mu: float) -> float:
    """Return KL(N(W, Sigma) || N(0, Sigma_0)) with H_0 = mu I, for isotropic and inverse-Hessian noise.

    Without its only record a model publishes w_ref = 0 exactly. That it has none is public, so the law around 0 serves
    as the reference.
    """
    square = float((torch.from_numpy(solved) ** 2).sum()) / float(law.sigma) ** 2
    if law.power == 0:
        return 0.5 * square
    shares = mu / torch.linalg.eigvalsh(hessian)
    shape = float((shares - 1.0 - shares.log()).sum())
    return 0.5 * (mu * square + float(solved.shape[1]) * shape)
