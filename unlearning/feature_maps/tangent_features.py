"""The full tangent map of any network as an operator: J w by forward, J^T e by reverse differentiation.

Source: the mixed-linear model of the dissertation, section 6.5, and its products with the Jacobian, eq. 6.12. J is
never formed, not even for one record: a product costs about three passes through what is linearized.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.func import jvp, vjp

from unlearning.errors import ShapeMismatch
from unlearning.feature_maps.linearization import Linearization, check_finite, linearize_at

BATCH = 64


@dataclass(frozen=True, slots=True, eq=False)
class TangentFeatures:
    """The Jacobian of n records' logits in the chosen parameters, as `linear.features.Features`; k is their number.

    cached (n, ...): inputs of the linearization. batch: records per product, which bounds the memory. Products are
    computed in the linearization's dtype and returned as float64. Not from several threads at once.
    """

    linearization: Linearization
    cached: Tensor
    outputs: int
    batch: int = BATCH

    @property
    def count(self) -> int:
        """n."""
        return int(self.cached.shape[0])

    @property
    def weight_shape(self) -> tuple[int, int]:
        """(k, 1)."""
        return self.linearization.size, 1

    def apply(self, weights: Tensor) -> Tensor:
        """Return J w, (n, C), of weights (k, 1). Raises ShapeMismatch, NonFinite."""
        return self._both(weights)[1]

    def core_outputs(self) -> Tensor:
        """Return the network's own logits (n, C)."""
        free = self.linearization.parameters
        with torch.no_grad():
            parts = [self.linearization(free, part) for part in torch.split(self.cached, self.batch)]
        return torch.cat(parts).double()

    def predict(self, weights: Tensor) -> Tensor:
        """Return f_c + J w, (n, C), of weights (k, 1). Raises ShapeMismatch, NonFinite."""
        core, change = self._both(weights)
        return core + change

    def adjoint(self, errors: Tensor) -> Tensor:
        """Return J^T e, (k, 1), of errors (n, C). Raises ShapeMismatch, NonFinite."""
        if errors.shape != (self.count, self.outputs):
            raise ShapeMismatch("errors", tuple(errors.shape), (self.count, self.outputs))
        check_finite("errors", errors)
        total = torch.zeros(self.linearization.size, dtype=torch.float64)
        free = self.linearization.parameters
        for part, error in zip(torch.split(self.cached, self.batch), torch.split(errors, self.batch), strict=True):
            pull_back = vjp(lambda p, part=part: self.linearization(p, part), free)[1]
            (found,) = pull_back(error.to(part.dtype))
            total += self.linearization.flatten(found).double()
        return total.unsqueeze(1)

    def take(self, index: Tensor) -> TangentFeatures:
        """Return the operator of the chosen records, in the order of `index`, int64 (m,)."""
        return replace(self, cached=self.cached[index])

    def _both(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        if weights.shape != self.weight_shape:
            raise ShapeMismatch("weights", tuple(weights.shape), self.weight_shape)
        check_finite("weights", weights)
        free = self.linearization.parameters
        along = self.linearization.unflatten(weights.squeeze(1).to(self.cached.dtype))
        parts = []
        for part in torch.split(self.cached, self.batch):
            found = jvp(lambda p, part=part: self.linearization(p, part), (free,), (along,))
            parts.append((found[0].double(), found[1].double()))
        nothing = torch.zeros(0, self.outputs, dtype=torch.float64)
        return torch.cat([nothing, *(p for p, _ in parts)]), torch.cat([nothing, *(c for _, c in parts)])


def tangent_features(
    network: nn.Module,
    inputs: Tensor,
    *,
    parameters: Sequence[str] | None = None,
    cut_early: bool = False,
    batch: int = BATCH,
    dtype: torch.dtype = torch.float64,
) -> TangentFeatures:
    """Return the tangent features of prepared inputs (n, *input_shape) under any network with outputs (n, C).

    parameters: names of parameters, or of modules whose parameters are meant; None: all. cut_early: one of Lacuna's
    networks is run once up to the first step that has one of them, and only the rest is kept and differentiated.
    Raises before any product OutOfRange: no records, an unknown or no parameter, a dtype that is not floating-point, a
    network without a known cut point; NonFinite: inputs or parameters; ShapeMismatch: outputs that are not (n, C).
    """
    linearization, cached, outputs = linearize_at(
        network, inputs, parameters, dtype=dtype, cut_early=cut_early, batch=batch
    )
    return TangentFeatures(linearization, cached, outputs, batch)
