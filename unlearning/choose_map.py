"""Choosing the feature map, its width and bandwidth by cross-validation on core records alone.

The core network has learned its training records by heart: judged on them, every map looks perfect and the narrowest
wins. So each half of the core in turn is given to a network and maps of its own, and the other half, which neither has
seen, plays the users: 5-fold cross-validation of the user weights on that half. What a fold leaves out is thus left out
of network, maps, landmarks, mu and weights alike. The model's own network is trained on all of the core later.

So the maps are compared with four fifths of half a core as users. With many more, the widest may be better still.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from unlearning.core_training import silent
from unlearning.errors import OutOfRange
from unlearning.feature_maps import ActivationMap, CoreRecords, core_records, fit_map_on
from unlearning.feature_maps.nystrom import LARGEST_DEFAULT_WIDTH
from unlearning.gcv import NEARLY_EQUAL as NEARLY_EQUAL_SCORES
from unlearning.gcv import SMALLEST_MISFIT, check_grid
from unlearning.public_model import PublicModel

AUTO = "auto"
"""The name under which a model asks for this choice."""
FOLDS = 5
FEWEST_RECORDS = 4 * FOLDS
"""Core records below which the half that plays the users says nothing."""
MOST_USERS = 1500
"""Records of either half that play users at most, to bound the time."""
BANDWIDTHS = (0.5, 1.0, 2.0)
"""As a share of the median distance between core records."""
NEARLY_EQUAL = 0.02
"""Errors this close, relatively, count as equal, and then the narrowest map is taken: a solve costs its width cubed."""

Fit = Callable[[npt.NDArray[np.generic], npt.NDArray[np.integer]], PublicModel]


@dataclass(frozen=True, slots=True)
class Candidate:
    """What `fit_public_model` takes: width (bias included) and bandwidth are for nystrom, None elsewhere."""

    feature_map: str
    width: int | None = None
    bandwidth: float | None = None


@dataclass(frozen=True, slots=True)
class MapChoice:
    """The chosen candidate, and for each: its mean squared error per held-out record, in units of the targets."""

    chosen: Candidate
    errors: tuple[tuple[Candidate, float], ...]


def choose_map(
    x_core: npt.NDArray[np.generic],
    y_core: npt.NDArray[np.integer],
    *,
    fit: Fit,
    alpha: float,
    grid: Sequence[float],
    seed: int,
    on_progress: Callable[[float], None] = silent,
) -> MapChoice:
    """Return the map with the smallest error on core records x_core (n, *shape) with labels y_core (n,).

    `fit` makes a public model, with any feature map, from the records given to it. grid: candidates for mu, of which
    each fold chooses its own by generalized cross-validation; one value fixes it. Everything is drawn from `seed`.
    Raises OutOfRange: too few records, or a wrong grid; what `fit` raises.
    """
    check_grid(grid)
    records = x_core.shape[0]
    if records < FEWEST_RECORDS:
        raise OutOfRange("core records", records, f">= {FEWEST_RECORDS} for feature_map {AUTO}")
    generator = torch.Generator().manual_seed(seed)
    one, other = halves(y_core, generator)
    errors = dict.fromkeys(candidates(records), 0.0)
    widths = dict.fromkeys(errors, 0)
    for turn, (own, users) in enumerate(((one, other[:MOST_USERS]), (other, one[:MOST_USERS]))):
        model = fit(x_core[own], y_core[own])
        on_progress(0.5 * turn + 0.25)
        seen = core_records(model.network, model.input_spec.prepare(x_core[own]))
        unseen = core_records(model.network, model.input_spec.prepare(x_core[users]))
        wanted = alpha * torch.eye(model.classes, dtype=torch.float64)[torch.from_numpy(y_core[users].astype(np.int64))]
        for candidate in errors:
            phi = features(candidate, seen, unseen, records, torch.Generator().manual_seed(seed))
            errors[candidate] += 0.5 * held_out_error(phi, wanted - unseen.activations.logits.double(), grid)
            widths[candidate] = phi.shape[1] if candidate.width is None else candidate.width
        on_progress(0.5 * turn + 0.5)
    limit = min(errors.values()) * (1.0 + NEARLY_EQUAL)
    good = [candidate for candidate, error in errors.items() if error <= limit]
    return MapChoice(min(good, key=lambda candidate: (widths[candidate], errors[candidate])), tuple(errors.items()))


def candidates(records: int) -> list[Candidate]:
    """Return what is tried for a core of so many records: nystrom with as many landmarks as it may have, and a quarter.

    Tried with the landmarks that half the core has, since a map's landmarks are core records.
    """
    most = min(records, LARGEST_DEFAULT_WIDTH - 1)
    found = [Candidate("head"), Candidate("pooled")]
    return found + [Candidate("nystrom", n + 1, share) for n in (most // 4, most) for share in BANDWIDTHS]


def halves(
    labels: npt.NDArray[np.integer], generator: torch.Generator
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the indices of two halves in random order, each with half of every class."""
    order = torch.randperm(len(labels), generator=generator).numpy()
    by_class = order[np.argsort(labels[order], kind="stable")]
    one, other = by_class[0::2], by_class[1::2]
    return (
        one[torch.randperm(len(one), generator=generator).numpy()],
        other[torch.randperm(len(other), generator=generator).numpy()],
    )


def features(
    candidate: Candidate, seen: CoreRecords, unseen: CoreRecords, records: int, generator: torch.Generator
) -> Tensor:
    """Return phi (m, d) float64 of the unseen records under a map fitted on the seen ones, landmarks in proportion."""
    width = candidate.width
    if width is not None:
        width = max(1, (width - 1) * seen.inputs.shape[0] // records) + 1
    fitted = fit_map_on(candidate.feature_map, seen, width=width, bandwidth=candidate.bandwidth, generator=generator)
    assert isinstance(fitted, ActivationMap), "candidates are shared maps"
    return fitted.phi(unseen.activations).double()


def held_out_error(phi: Tensor, targets: Tensor, grid: Sequence[float]) -> float:
    """Return the mean of ||W^T phi - t||^2 over records whose fold W has not seen; phi (m, d), targets (m, C)."""
    rows = torch.arange(phi.shape[0])
    total = 0.0
    for fold in range(FOLDS):
        held = rows % FOLDS == fold
        left, values, right = torch.linalg.svd(phi[~held], full_matrices=False)
        rotated = left.mT @ targets[~held]
        mu = best_mu(values.square(), rotated, targets[~held], grid)
        shrunk = values / (values.square() + int((~held).sum()) * mu)
        weights = right.mT @ (shrunk.unsqueeze(1) * rotated)
        total += float((phi[held] @ weights - targets[held]).square().sum())
    return total / phi.shape[0]


def best_mu(eigenvalues: Tensor, rotated: Tensor, targets: Tensor, grid: Sequence[float]) -> float:
    """Return the mu of the smallest generalized cross-validation score, as `gcv`, from a singular value decomposition.

    eigenvalues (p,) of Phi^T Phi, rotated (p, C) = U^T t, targets (m, C).
    """
    m = targets.shape[0]
    total = float(targets.square().sum())
    scores = []
    for mu in grid:
        kept = eigenvalues / (eigenvalues + m * mu)
        misfit = total - float((rotated.square().sum(1) * kept * (2.0 - kept)).sum())
        free = m - float(kept.sum())
        scores.append(misfit / free**2 if misfit > SMALLEST_MISFIT * total else np.inf)
    limit = min(scores) * (1.0 + NEARLY_EQUAL_SCORES)
    return max((mu for mu, score in zip(grid, scores, strict=True) if score <= limit), default=grid[-1])
