"""A model's sigma, proposed from public records alone when its core is trained."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ledger.tables import Model
from unlearning.bounds.white_box import allowed_residual
from unlearning.linear.from_rows import features_of, targets_of
from unlearning.noise.covariance import covariance_named
from unlearning.noise.planner import CoreSample, Proposal, propose
from unlearning.public_model import PublicModel
from unlearning.residual import default_residual_budget
from unlearning.rows import QuantizedRows
from workers import noising
from workers.errors import NoNoise
from workers.solving import EXACT

TOLERANCE = 0.01
"""Share of all answers that noise may turn wrong."""


@dataclass(frozen=True, slots=True)
class Noise:
    """What a model with noise is registered with: sigma, and the largest gradient norm that its kappa allows.

    proposal: how a planned sigma came about; None when it was given.
    """

    sigma: float
    residual_budget: float
    proposal: Proposal | None


def plan(model: Model, public: PublicModel, sample: QuantizedRows) -> Noise:
    """Return the noise of a model from public records: evaluation records, or core records if there are no others.

    The core network was trained on core records, so its errors on them, and the exposure, come out too small there.
    As many user records are expected as the sample has. Raises NoNoise: the exposure budget cannot be kept; OutOfRange:
    no sigma costs less than TOLERANCE of accuracy, or too few records.
    """
    assert model.mu is not None
    assert model.kappa is not None
    assert model.noise is not None
    proposal = None
    if model.sigma is None:
        proposal = propose(
            core_sample(public, sample),
            model.noise,
            [model.mu],
            tolerance=TOLERANCE,
            expected_count=sample.count,
            kappa=model.kappa,
            generator=torch.Generator().manual_seed(model.seed),
        )
        if model.exposure_budget is not None and proposal.exposure_worst > model.exposure_budget:
            raise NoNoise(model.exposure_budget, proposal.exposure_worst)
    sigma = model.sigma if proposal is None else proposal.sigma
    assert sigma is not None
    law = covariance_named(model.noise, sigma)
    allowed = noising.RESERVE * allowed_residual(model.kappa, law, model.mu)
    wanted = model.residual_budget
    if wanted is None and model.solver == EXACT:
        wanted = default_residual_budget(public.plan, public.width, model.mu)
    return Noise(sigma, allowed if wanted is None else min(allowed, wanted), proposal)


def core_sample(public: PublicModel, rows: QuantizedRows) -> CoreSample:
    """Return public records as the planner takes them."""
    return CoreSample(
        features_of(rows, public.plan).phi,
        targets_of(rows, public.plan),
        torch.from_numpy(public.plan.core_values(rows.core_output)),
        torch.from_numpy(rows.labels).long(),
    )
