"""A model's sigma, proposed from public records alone when its core is trained."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ledger.tables import Model
from unlearning.bounds.exposure import ScaledRidge, prepare
from unlearning.bounds.white_box import allowed_residual
from unlearning.errors import OutOfRange
from unlearning.linear.from_rows import features_of, targets_of
from unlearning.noise.covariance import covariance_named
from unlearning.noise.planner import SIGMAS, CoreSample, check_request, largest_within, split, try_mu
from unlearning.public_model import PublicModel
from unlearning.residual import default_residual_budget
from unlearning.rows import QuantizedRows
from workers import noising
from workers.solving import EXACT

TOLERANCE = 0.01
"""Share of all answers that noise may turn wrong."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How a sigma came about, all from public records: accuracies by cross-validation, without and with the noise, and
    the exposure, in nats, of the sample's records in one version that holds the sample.
    """

    sigma: float
    accuracy: float
    noised_accuracy: float
    exposure_worst: float
    exposure_median: float
    records: int


@dataclass(frozen=True, slots=True)
class Noise:
    """What a model with noise is registered with: sigma, and the largest gradient norm that its kappa allows.

    planned: how a planned sigma came about; None when it was given.
    """

    sigma: float
    residual_budget: float
    planned: Plan | None


def plan(model: Model, public: PublicModel, sample: QuantizedRows) -> Noise:
    """Return the noise of a model from public records: evaluation records, or core records if there are no others.

    The core network was trained on core records, so its errors on them, and the exposure, come out too small there.
    A version of users' records is taken to have as many. Raises OutOfRange: no sigma costs less than TOLERANCE of
    accuracy or keeps the exposure budget, or too few records; BoundRefused: see `exposure`.
    """
    assert model.mu is not None
    assert model.kappa is not None
    assert model.noise is not None
    planned = propose(model, model.noise, model.mu, core_sample(public, sample)) if model.sigma is None else None
    if planned is not None and model.exposure_budget is not None and planned.exposure_worst > model.exposure_budget:
        least = f">= {planned.exposure_worst:.3g}: with all the noise that accuracy allows, one version tells that much"
        advice = "give a larger budget, a larger mu, a narrower feature map, inverse-Hessian noise, or a sigma"
        raise OutOfRange("exposure budget", model.exposure_budget, f"{least} about a public record; {advice}")
    sigma = model.sigma if planned is None else planned.sigma
    assert sigma is not None
    allowed = noising.RESERVE * allowed_residual(model.kappa, covariance_named(model.noise, sigma), model.mu)
    wanted = model.residual_budget
    if wanted is None and model.solver == EXACT:
        wanted = default_residual_budget(public.plan, public.width, model.mu)
    return Noise(sigma, allowed if wanted is None else min(allowed, wanted), planned)


def propose(model: Model, kind: str, mu: float, sample: CoreSample) -> Plan:
    """Return the largest of the planner's sigmas that costs at most TOLERANCE, and the exposure that it leaves.

    Raises OutOfRange, BoundRefused: as `plan`.
    """
    check_request(sample, [mu], TOLERANCE, max(2, sample.phi.shape[0]), model.kappa or 1.0)
    generator = torch.Generator().manual_seed(model.seed)
    trial = try_mu(split(sample, generator), kind, mu, generator)
    sigma = largest_within(trial.noised, trial.accuracy - TOLERANCE)
    if sigma is None:
        raise OutOfRange("sigma", "none", f"one that costs at most {TOLERANCE:.0%} of accuracy; give one, or raise mu")
    nats = exposure(sample, kind, sigma, mu)
    return Plan(
        sigma=sigma,
        accuracy=trial.accuracy,
        noised_accuracy=trial.noised[SIGMAS.index(sigma)],
        exposure_worst=float(nats.max()),
        exposure_median=float(nats.median()),
        records=int(nats.shape[0]),
    )


def exposure(sample: CoreSample, kind: str, sigma: float, mu: float) -> Tensor:
    """Return what one version that holds the sample tells about each of its records, in nats.

    Each record is compared with the version without it, so that it was fitted itself makes no difference.
    Raises BoundRefused: a record so dominant that rounding decides.
    """
    count, columns = sample.targets.shape[0], 1 if sample.phi.ndim == 3 else sample.targets.shape[1]
    rows = sample.phi.flatten(0, -2)
    gram, cross = rows.mT @ rows, rows.mT @ sample.targets.reshape(rows.shape[0], columns)
    version = prepare(gram, cross, count, ScaledRidge(mu), covariance_named(kind, sigma))
    return version.of(sample.phi, sample.targets)


def core_sample(public: PublicModel, rows: QuantizedRows) -> CoreSample:
    """Return public records as the planner takes them."""
    return CoreSample(
        features_of(rows, public.plan).phi,
        targets_of(rows, public.plan),
        torch.from_numpy(public.plan.core_values(rows.core_output)),
        torch.from_numpy(rows.labels).long(),
    )
