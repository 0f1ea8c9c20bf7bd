"""User weights as bytes."""

import hashlib
import hmac

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from unlearning.errors import CorruptArtifact, NonFinite, ShapeMismatch

NAME = "weights"


def weights_to_bytes(weights: npt.NDArray[np.float64]) -> bytes:
    """Return weights (d, q) float64 as a safetensors file. Equal weights give equal bytes; -0.0 is stored as 0.0.

    Raises ShapeMismatch; NonFinite.
    """
    if weights.ndim != 2 or weights.dtype != np.float64:
        raise ShapeMismatch("weights", (weights.shape, weights.dtype.name), ("(d, q)", "float64"))
    broken = int(weights.size - np.count_nonzero(np.isfinite(weights)))
    if broken:
        raise NonFinite("weights", broken)
    return bytes(save({NAME: np.ascontiguousarray(weights + 0.0)}))


def weights_from_bytes(data: bytes) -> npt.NDArray[np.float64]:
    """Read `weights_to_bytes` back. A changed number cannot be seen here; compare `digest`.

    Raises CorruptArtifact: not safetensors, another content, or not finite.
    """
    try:
        content = load(data)
    except (SafetensorError, ValueError) as problem:
        raise CorruptArtifact("weights file", str(problem)) from problem
    if set(content) != {NAME}:
        raise CorruptArtifact("weights file", f"it holds {sorted(content)}")
    weights: npt.NDArray[np.float64] = content[NAME]
    if weights.ndim != 2 or weights.dtype != np.float64 or not np.isfinite(weights).all():
        raise CorruptArtifact("weights file", "not a finite float64 matrix")
    return weights


def digest(key: bytes, data: bytes) -> str:
    """Return HMAC-SHA256(key, data) in hex. The key dies with the version: a plain hash would confirm guesses."""
    return hmac.new(key, data, hashlib.sha256).hexdigest()
