"""An inference answer: tensors in JSON, or behind it as binary data."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from ledger.api_keys import LABEL as LABEL_ONLY
from ledger.api_keys import Outputs
from service.open_inference.request import CLASS_NAME, LABEL, OUTPUTS, PROBABILITIES, InferRequest, Wanted
from service.open_inference.tensors import to_bytes
from service.refusals import InstancesRefused
from service.serving.model import ServedModel
from service.serving.outputs import JSON, Allowed, Answer, Chances, Render, spent_header, told

OCTETS = "application/octet-stream"
HEADER = "Inference-Header-Content-Length"
DATATYPES = {PROBABILITIES: "FP64", LABEL: "INT64", CLASS_NAME: "BYTES"}


def names_for(outputs: Outputs) -> tuple[str, ...]:
    """Return the outputs that a key may see."""
    return tuple(name for name in OUTPUTS if name != PROBABILITIES or outputs.mode != LABEL_ONLY)


def as_tensors(asked: InferRequest, model_name: str, allowed: Allowed) -> Render:
    """Return what writes the answer to a request for `model_name`."""

    def render(model: ServedModel, chances: Chances) -> Answer:
        content = asked.content
        seen = names_for(allowed.outputs)
        wanted = content.wanted or tuple(Wanted(name, content.binary) for name in seen)
        if any(one.name not in seen for one in wanted):
            raise InstancesRefused(f"this key is told {' and '.join(seen)} only")
        tensors, blobs = [], []
        for one in wanted:
            values = _values(one.name, model, chances, allowed.outputs)
            shape = [len(chances), model.public.classes] if one.name == PROBABILITIES else [len(chances)]
            tensor: dict[str, Any] = {"name": one.name, "datatype": DATATYPES[one.name], "shape": shape}
            if one.binary:
                blob = to_bytes(values)
                blobs.append(blob)
                tensor["parameters"] = {"binary_data_size": len(blob)}
            else:
                tensor["data"] = values.ravel().tolist() if isinstance(values, np.ndarray) else values
            tensors.append(tensor)
        said: dict[str, Any] = {"model_name": model_name, "model_version": str(model.number)}
        if content.id is not None:
            said["id"] = content.id
        said |= {"parameters": _parameters(allowed), "outputs": tensors}
        body = json.dumps(said, ensure_ascii=False, separators=(",", ":")).encode()
        headers = spent_header(allowed)
        if not blobs:
            return Answer(model.model_id, model.number, body, JSON, headers)
        headers = (*headers, (HEADER, str(len(body))))
        return Answer(model.model_id, model.number, b"".join((body, *blobs)), OCTETS, headers)

    return render


def _values(name: str, model: ServedModel, chances: Chances, outputs: Outputs) -> Any:
    if name == PROBABILITIES:
        return told(chances, outputs)
    labels = chances.argmax(axis=1).astype(np.int64)
    if name == LABEL:
        return labels
    names = model.public.input_spec.class_names
    return [names[label] for label in labels.tolist()]


def _parameters(allowed: Allowed) -> dict[str, str | int]:
    said: dict[str, str | int] = {"outputs": allowed.outputs.mode}
    if allowed.outputs.digits is not None:
        said["digits"] = allowed.outputs.digits
    if allowed.spent:
        said["leakage_budget"] = "spent"
    return said
