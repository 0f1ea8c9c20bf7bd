"""Proposes sigma, mu and kappa before any user record exists, from core (public) data alone.

Noise costs accuracy and buys two things: a finite bound for iterative solvers (kappa) and a finite differencing
exposure. Core records stand in for users: the ridge model is fitted on some of them and judged on the others, sigma is
raised until too many answers change, and held-out core records say how exposed one record of a version would be. All of
it is public, and equal core data and generator give the equal proposal on one build and machine.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from unlearning.bounds.exposure import ScaledRidge, as_rows, prepare
from unlearning.bounds.noise_shape import check_mu
from unlearning.bounds.white_box import allowed_residual, cheap_bound
from unlearning.errors import OutOfRange, ShapeMismatch
from unlearning.noise.covariance import Covariance, covariance_named
from unlearning.residual import gamma

FOLDS = 5
DRAWS = 8
"""Noises per fold; the loss of accuracy is averaged over them."""
SIGMAS = tuple(2.0 ** (step / 2) for step in range(-40, 21))
"""Candidates, half an octave apart: 1e-6 to 1e3. Features have mean square one and targets a scale of 5 to 15."""
RESERVE = 8.0
"""A solver is expected to come within this factor of the smallest residual that float64 can show."""


@dataclass(frozen=True, slots=True, eq=False)
class CoreSample:
    """Core records: phi (n, d) or per output (n, C, d); targets (n, C) = y - f_c; outputs (n, C) = f_c; labels (n,).

    f_c must not have been fitted on these records, else their errors are too small and so is the exposure.
    """

    phi: Tensor
    targets: Tensor
    outputs: Tensor
    labels: Tensor


@dataclass(frozen=True, slots=True)
class Proposal:
    """Constants for a registration, all public.

    kappa in nats per version, residual_budget is the gradient norm that it allows. accuracy: without noise at the best
    mu; noised_accuracy: at this mu and sigma. exposure_*: nats of one version at `expected_count` records.
    """

    noise: str
    sigma: float
    mu: float
    kappa: float
    residual_budget: float
    accuracy: float
    noised_accuracy: float
    exposure_worst: float
    exposure_median: float
    expected_count: int


@dataclass(frozen=True, slots=True, eq=False)
class Fold:
    """A, B and count of the fitted part; rows, targets, outputs and labels of the judged part."""

    gram: Tensor
    cross: Tensor
    count: int
    rows: Tensor
    targets: Tensor
    outputs: Tensor
    labels: Tensor

    def accuracy(self, added: Tensor) -> float:
        """Return the share of right answers when the model adds `added` (m, C) to the core's outputs."""
        return float(((self.outputs + added).argmax(1) == self.labels).double().mean())

    def answers(self, weights: Tensor) -> Tensor:
        """Return Phi W (m, C): (m, 1, d) or (m, C, d) times (d, q)."""
        return (self.rows @ weights).reshape(self.outputs.shape)


@dataclass(frozen=True, slots=True)
class Trial:
    """What one mu can do: accuracy without noise, and with each of SIGMAS."""

    mu: float
    accuracy: float
    noised: tuple[float, ...]


def propose(
    core: CoreSample,
    noise: str,
    mus: Sequence[float],
    *,
    tolerance: float,
    expected_count: int,
    kappa: float,
    generator: torch.Generator,
) -> Proposal:
    """Return the mu and the largest sigma of SIGMAS that lose at most `tolerance` of accuracy, with least exposure.

    The loss is cross-validated against the best mu without noise; a sigma counts only if all smaller ones keep the
    tolerance too. kappa is what is wanted; it is raised to what the residual can reach in float64.
    Raises OutOfRange: no mu and sigma within the tolerance, too few records, bad numbers; ShapeMismatch; NonFinite.
    """
    check_request(core, mus, tolerance, expected_count, kappa)
    folds = split(core, generator)
    trials = [try_mu(folds, noise, mu, generator) for mu in mus]
    best = max(trial.accuracy for trial in trials)
    proposals = []
    for trial in trials:
        sigma = largest_within(trial.noised, best - tolerance)
        if sigma is not None:
            proposals.append(describe(folds, noise, sigma, trial, best, expected_count, kappa))
    if not proposals:
        raise OutOfRange("tolerance", tolerance, f"more: even sigma = {SIGMAS[0]:.1e} loses more accuracy than that")
    return min(proposals, key=lambda each: (each.exposure_worst, -each.mu))


def split(core: CoreSample, generator: torch.Generator) -> list[Fold]:
    """Return FOLDS folds in an order drawn from `generator`."""
    columns = core.targets.shape[1] if core.phi.ndim == 2 else 1
    rows, targets = as_rows(core.phi, core.targets, core.phi.shape[-1], columns)
    parts = torch.randperm(rows.shape[0], generator=generator, device=generator.device).cpu().tensor_split(FOLDS)
    folds = []
    for judged in parts:
        fitted = torch.ones(rows.shape[0], dtype=torch.bool)
        fitted[judged] = False
        flat = rows[fitted].flatten(0, 1)
        folds.append(
            Fold(
                gram=flat.mT @ flat,
                cross=flat.mT @ targets[fitted].flatten(0, 1),
                count=int(fitted.sum()),
                rows=rows[judged],
                targets=targets[judged],
                outputs=core.outputs[judged],
                labels=core.labels[judged],
            )
        )
    return folds


def try_mu(folds: Sequence[Fold], noise: str, mu: float, generator: torch.Generator) -> Trial:
    """Return the accuracies of one mu. The same draws serve every sigma, so they fall smoothly."""

    def bytes_of(count: int) -> bytes:
        drawn = torch.randint(0, 256, (count,), generator=generator, dtype=torch.uint8, device=generator.device)
        return drawn.cpu().numpy().tobytes()

    plain, noised = 0.0, [0.0] * len(SIGMAS)
    unit = covariance_named(noise, 1.0)
    for fold in folds:
        hessian = hessian_of(fold, mu)
        fitted = fold.answers(torch.linalg.solve(hessian, fold.cross / fold.count))
        plain += fold.accuracy(fitted) / len(folds)
        for _ in range(DRAWS):
            moved = fold.answers(unit.draw(hessian, fold.cross.shape[1], bytes_of))
            for index, sigma in enumerate(SIGMAS):
                noised[index] += fold.accuracy(fitted + sigma * moved) / (len(folds) * DRAWS)
    return Trial(mu, plain, tuple(noised))


def largest_within(noised: Sequence[float], least: float) -> float | None:
    """Return the last of SIGMAS before accuracy first falls below `least`; None if the first one does."""
    # A difference of 1e-9 is the rounding of an average.
    failing = next((index for index, value in enumerate(noised) if value < least - 1e-9), len(SIGMAS))
    return SIGMAS[failing - 1] if failing else None


def describe(
    folds: Sequence[Fold], kind: str, sigma: float, trial: Trial, best: float, expected_count: int, kappa: float
) -> Proposal:
    """Return the proposal of one mu and sigma."""
    noise = covariance_named(kind, sigma)
    ridge = ScaledRidge(trial.mu)
    exposures, floor = [], 0.0
    for fold in folds:
        exposures.append(exposed(fold, expected_count, ridge, noise))
        hessian = hessian_of(fold, trial.mu)
        weights = torch.linalg.solve(hessian, fold.cross / fold.count)
        size = hessian.abs() @ weights.abs() + fold.cross.abs() / fold.count
        floor = max(floor, gamma(hessian.shape[0] + 4) * float(torch.linalg.norm(size)))
    all_of_them = torch.cat(exposures)
    reached = max(kappa, cheap_bound(RESERVE * floor, noise, trial.mu))
    return Proposal(
        noise=kind,
        sigma=sigma,
        mu=trial.mu,
        kappa=reached,
        residual_budget=allowed_residual(reached, noise, trial.mu),
        accuracy=best,
        noised_accuracy=trial.noised[SIGMAS.index(sigma)],
        exposure_worst=float(all_of_them.max()),
        exposure_median=float(all_of_them.median()),
        expected_count=expected_count,
    )


def exposed(fold: Fold, count: int, ridge: ScaledRidge, noise: Covariance) -> Tensor:
    """Return what a version of `count` records tells about each judged record, in nats: these stand in for users.

    The version holds every judged record once, as it would hold a user's, and the fitted part as often as it takes.
    """
    rows, targets = fold.rows[:count], fold.targets[:count]
    flat = rows.flatten(0, 1)
    grown = (count - rows.shape[0]) / fold.count
    gram = fold.gram * grown + flat.mT @ flat
    cross = fold.cross * grown + flat.mT @ targets.flatten(0, 1)
    return prepare(gram, cross, count, ridge, noise).of_block(rows, targets)


def hessian_of(fold: Fold, mu: float) -> Tensor:
    """Return A/n + mu I of the fitted part."""
    hessian = fold.gram / fold.count
    hessian.diagonal().add_(mu)
    return hessian


def check_request(core: CoreSample, mus: Sequence[float], tolerance: float, expected_count: int, kappa: float) -> None:
    """Raise OutOfRange or ShapeMismatch unless a proposal can be computed."""
    count = core.phi.shape[0] if core.phi.ndim else 0
    if count < 2 * FOLDS:
        raise OutOfRange("number of core records", count, f">= {2 * FOLDS}")
    if core.targets.ndim != 2 or core.outputs.shape != core.targets.shape or core.outputs.dtype != torch.float64:
        raise ShapeMismatch("core outputs", tuple(core.outputs.shape), f"{tuple(core.targets.shape)} in float64")
    if core.labels.shape != (count,) or core.labels.dtype != torch.int64:
        raise ShapeMismatch("labels", (tuple(core.labels.shape), core.labels.dtype), f"({count},) in int64")
    for mu in mus:
        check_mu(mu)
    if not mus or any(low >= high for low, high in pairwise(mus)):
        raise OutOfRange("candidates of mu", tuple(mus), "one or more, rising")
    if not 0 <= tolerance < 1:
        raise OutOfRange("tolerance", tolerance, "0 up to 1, a share of all records")
    if expected_count < 2:
        raise OutOfRange("expected count", expected_count, ">= 2")
    if not (kappa > 0 and math.isfinite(kappa)):
        raise OutOfRange("kappa", kappa, "> 0")
