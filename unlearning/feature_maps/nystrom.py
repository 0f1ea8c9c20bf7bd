"""nystrom: a Gaussian kernel on pooled activations, approximated from core landmarks, and the bias.

Source: Williams and Seeger 2001, "Using the Nystrom method to speed up kernel machines", section 3:
phi(x) = K_LL^(-1/2) k_L(x) gives phi(x)^T phi(y) = k_x^T K_LL^-1 k_y, exact on the landmarks L.
"""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from unlearning.architectures import Activations
from unlearning.errors import OutOfRange, ShapeMismatch
from unlearning.feature_maps.base import (
    ActivationMap,
    CoreRecords,
    MapKind,
    MapOptions,
    Standardiser,
    fit_standardiser,
    with_bias,
)

LARGEST_DEFAULT_WIDTH = 1025
EIGENVALUE_FLOOR = 1e-4
"""Eigenvalues of K_LL below this share of the largest are raised to it: phi is computed in float32, and a smaller floor
would amplify its rounding beyond the quantization step."""
BANDWIDTH_SHARE = 1.0
"""Default bandwidth as a share of the median distance between core records."""
MEDIAN_RECORDS = 1000


@dataclass(frozen=True, slots=True, eq=False)
class NystromMap(ActivationMap):
    """phi = [k_L(z) whitening, 1] with z the weighted standardised pooled activations; all constants public.

    landmarks (m, w) already divided by sqrt(2) * bandwidth, like z; whitening (m, m).
    """

    standardiser: Standardiser
    landmarks: Tensor
    whitening: Tensor
    landmark_squares: Tensor = field(init=False)

    def __post_init__(self) -> None:
        m, columns = self.landmarks.shape
        if columns != self.standardiser.columns or self.whitening.shape != (m, m):
            raise ShapeMismatch(
                "landmarks, whitening",
                (tuple(self.landmarks.shape), tuple(self.whitening.shape)),
                (("m", self.standardiser.columns), ("m", "m")),
            )
        # Kept, because for a single record it would cost more than the rest of the map.
        object.__setattr__(self, "landmark_squares", row_squares(self.landmarks))

    @property
    def name(self) -> str:
        """Return the registered name."""
        return "nystrom"

    @property
    def width(self) -> int:
        """Return landmarks + 1."""
        return int(self.landmarks.shape[0]) + 1

    def phi(self, activations: Activations) -> Tensor:
        """Return the features (n, m + 1)."""
        z = self.standardiser(torch.cat(activations.pooled, dim=1))
        return with_bias(gaussian_kernel(z, self.landmarks, self.landmark_squares) @ self.whitening)

    def to_tensors(self) -> dict[str, Tensor]:
        """Return the standardisation, landmarks and whitening."""
        return {
            "center": self.standardiser.center,
            "scale": self.standardiser.scale,
            "landmarks": self.landmarks,
            "whitening": self.whitening,
        }


def row_squares(matrix: Tensor) -> Tensor:
    """Return the squared norm of every row."""
    return (matrix * matrix).sum(1)


def gaussian_kernel(z: Tensor, landmarks: Tensor, landmark_squares: Tensor) -> Tensor:
    """Return exp(-||z_i - l_j||^2), the bandwidth being in the units of z; landmark_squares are the ||l_j||^2."""
    squares = row_squares(z).unsqueeze(1) + landmark_squares - 2.0 * (z @ landmarks.T)
    return torch.exp(-squares.clamp_min(0.0))


def fit_nystrom(
    core: Activations, width: int | None, generator: torch.Generator, share: float = BANDWIDTH_SHARE
) -> NystromMap:
    """Draw width - 1 landmarks from the core records and whiten their kernel.

    Layers count alike, however wide: a layer's columns are divided by the root of their number. The bandwidth is this
    `share` of the median distance between core records.
    Raises OutOfRange: more landmarks than core records, a share that is not positive, or equal core records.
    """
    pooled = torch.cat(core.pooled, dim=1)
    records = pooled.shape[0]
    landmarks = min(records, LARGEST_DEFAULT_WIDTH - 1) if width is None else width - 1
    if not 1 <= landmarks <= records:
        raise OutOfRange("width of nystrom", landmarks + 1, f"2 to {records + 1}, the core has {records} records")
    plain = fit_standardiser(pooled)
    layer_share = torch.cat([torch.full((layer.shape[1],), layer.shape[1] ** -0.5) for layer in core.pooled])
    weighted = Standardiser(plain.center, plain.scale * layer_share)
    z = weighted(pooled).double()
    order = torch.randperm(records, generator=generator)
    bandwidth = share * float(torch.pdist(z[order[:MEDIAN_RECORDS]]).median())
    if not (bandwidth > 0 and math.isfinite(bandwidth)):
        raise OutOfRange("bandwidth", bandwidth, "> 0; are all core records equal?")
    unit = 1.0 / (math.sqrt(2.0) * bandwidth)
    chosen = z[order[:landmarks]] * unit
    values, vectors = torch.linalg.eigh(gaussian_kernel(chosen, chosen, row_squares(chosen)))
    floored = values.clamp_min(EIGENVALUE_FLOOR * float(values[-1]))
    whitening = vectors @ (floored.rsqrt().unsqueeze(1) * vectors.T)
    features = gaussian_kernel(z * unit, chosen, row_squares(chosen)) @ whitening
    to_mean_square_one = 1.0 / float(features.square().mean().sqrt())
    return NystromMap(
        Standardiser(weighted.center, (weighted.scale.double() * unit).float()),
        chosen.float(),
        (whitening * to_mean_square_one).float(),
    )


def restore_nystrom(tensors: dict[str, Tensor]) -> NystromMap:
    """Read `to_tensors` back. Raises KeyError, ShapeMismatch: other tensors."""
    return NystromMap(Standardiser(tensors["center"], tensors["scale"]), tensors["landmarks"], tensors["whitening"])


def fit_with_options(core: CoreRecords, options: MapOptions, generator: torch.Generator) -> NystromMap:
    """Fit with the options' width and share of the median distance. Raises OutOfRange."""
    share = BANDWIDTH_SHARE if options.bandwidth is None else options.bandwidth
    return fit_nystrom(core.activations, options.width, generator, share)


KIND = MapKind(name="nystrom", options=frozenset({"width", "bandwidth"}), fit=fit_with_options, restore=restore_nystrom)
