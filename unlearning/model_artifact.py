"""A public model's parts as one safetensors file: tensors and canonical JSON, no pickle."""

import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from unlearning.errors import CorruptArtifact

KEY = "lacuna"
"""The only metadata key: safetensors does not fix the order of several."""
FORMAT = 1
LENGTH = struct.Struct("<Q")


@dataclass(frozen=True, slots=True, eq=False)
class ModelParts:
    """config: JSON values. tensors: by name."""

    config: dict[str, object]
    tensors: dict[str, Tensor]


def content_digest(parts: ModelParts) -> str:
    """Return the SHA-256 over config and tensors, in hex; independent of the file layout."""
    state = hashlib.sha256(canonical(parts.config))
    for name in sorted(parts.tensors):
        tensor = parts.tensors[name].contiguous()
        state.update(canonical({"name": name, "dtype": str(tensor.dtype), "shape": list(tensor.shape)}))
        state.update(tensor.reshape(-1).view(torch.uint8).numpy().data if tensor.numel() else b"")
    return state.hexdigest()


def canonical(value: Mapping[str, object]) -> bytes:
    """Return JSON with sorted keys and no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def encode(parts: ModelParts) -> bytes:
    """Return the file; equal parts give equal bytes."""
    envelope = {"format": FORMAT, "config": parts.config, "digest": content_digest(parts)}
    tensors = {name: tensor.contiguous() for name, tensor in parts.tensors.items()}
    return bytes(save(tensors, metadata={KEY: canonical(envelope).decode()}))


def decode(data: bytes) -> ModelParts:
    """Read `encode` back and compare the digest.

    Raises CorruptArtifact: truncated, changed, or another kind of file.
    """
    try:
        tensors = load(data)
        (length,) = LENGTH.unpack_from(data)
        header = json.loads(data[LENGTH.size : LENGTH.size + length])
        envelope = json.loads(header["__metadata__"][KEY])
        found_format, config, digest = envelope["format"], envelope["config"], envelope["digest"]
    except (SafetensorError, struct.error, ValueError, TypeError, KeyError) as problem:
        raise CorruptArtifact("public model", str(problem)) from problem
    if found_format != FORMAT or not isinstance(config, dict):
        raise CorruptArtifact("public model", f"format {found_format}, this code reads {FORMAT}")
    parts = ModelParts(config, tensors)
    if content_digest(parts) != digest:
        raise CorruptArtifact("public model", "the content does not match its digest")
    return parts
