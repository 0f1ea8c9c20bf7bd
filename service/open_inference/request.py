"""One inference request: read once, in the thread that computes, then turned into records and an answer."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from service.open_inference.tensors import INPUT, NUMBERS, checked_shape, from_bytes, from_data
from service.refusals import BodyUnreadable, InstancesRefused
from service.serving.model import ServedModel

LONGEST_ID = 1000
PROBABILITIES, LABEL, CLASS_NAME = "probabilities", "label", "class_name"
OUTPUTS = (PROBABILITIES, LABEL, CLASS_NAME)


@dataclass(frozen=True, slots=True)
class Wanted:
    """An output that was asked for, and whether as binary data."""

    name: str
    binary: bool


@dataclass(frozen=True, slots=True)
class Content:
    """What a request says. wanted: None stands for every output that the key may see. binary: the default of outputs.

    blob: the input's binary data; None: `data` holds it.
    """

    id: str | None
    shape: tuple[int, ...]
    datatype: str
    data: object
    blob: bytes | None
    wanted: tuple[Wanted, ...] | None
    binary: bool


class InferRequest:
    """A body, with the length of its JSON part (None: all of it)."""

    def __init__(self, body: bytes, header_bytes: int | None) -> None:
        """Keep the body; it is read when records are needed."""
        self._body = body
        self._header_bytes = header_bytes
        self._content: Content | None = None

    @property
    def content(self) -> Content:
        """What the request says. Raises BodyUnreadable, InstancesRefused."""
        if self._content is None:
            self._content = _read(self._body, self._header_bytes)
        return self._content

    def records(self, model: ServedModel) -> npt.NDArray[Any]:
        """Return the records (n, *shape) as /predict would read them. Raises BodyUnreadable, InstancesRefused."""
        content, spec = self.content, model.public.input_spec
        if content.blob is None:
            x = from_data(content.data, content.shape, spec)
        else:
            x = from_bytes(content.blob, content.datatype, content.shape, spec)
        if not len(x):
            raise InstancesRefused("there are none")
        return x


def _read(body: bytes, header_bytes: int | None) -> Content:
    length = len(body) if header_bytes is None else header_bytes
    if length > len(body):
        raise BodyUnreadable("it is shorter than Inference-Header-Content-Length says")
    try:
        said = json.loads(body[:length])
    except (ValueError, RecursionError) as problem:
        raise BodyUnreadable("its first part cannot be parsed as JSON") from problem
    inputs = said.get("inputs") if isinstance(said, dict) else None
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise InstancesRefused(f"there must be one input, named {INPUT}")
    (tensor,) = inputs
    if tensor.get("name") != INPUT:
        raise InstancesRefused(f"the input must be named {INPUT}")
    datatype = tensor.get("datatype")
    if not isinstance(datatype, str) or datatype not in NUMBERS:
        raise InstancesRefused(f"the input's datatype is none of {', '.join(NUMBERS)}")
    blob = _blob(tensor, body[length:])
    named = said.get("id")
    if named is not None and (not isinstance(named, str) or len(named) > LONGEST_ID):
        raise InstancesRefused(f"the id is not a text of at most {LONGEST_ID} characters")
    binary = _parameters(said).get("binary_data_output") is True
    return Content(
        id=named,
        shape=checked_shape(tensor.get("shape")),
        datatype=datatype,
        data=tensor.get("data"),
        blob=blob,
        wanted=_wanted(said.get("outputs"), binary),
        binary=binary,
    )


def _blob(tensor: dict[str, Any], rest: bytes) -> bytes | None:
    """Return the input's binary data, None when it has none. Raises InstancesRefused."""
    size = _parameters(tensor).get("binary_data_size")
    if size is None:
        if rest:
            raise InstancesRefused("there are binary data that no input has")
        return None
    if type(size) is not int or size != len(rest) or "data" in tensor:
        raise InstancesRefused("binary_data_size is not what follows the JSON part, or there are data in it as well")
    return rest


def _wanted(outputs: object, binary: bool) -> tuple[Wanted, ...] | None:
    if outputs is None or outputs == []:
        return None
    if not isinstance(outputs, list) or not all(isinstance(one, dict) for one in outputs):
        raise InstancesRefused("the outputs are not a list of objects")
    names = [one.get("name") for one in outputs]
    if not set(map(str, names)) <= set(OUTPUTS) or len(set(map(str, names))) != len(names):
        raise InstancesRefused(f"the outputs are not some of {', '.join(OUTPUTS)}, each once")
    return tuple(Wanted(one["name"], _parameters(one).get("binary_data", binary) is True) for one in outputs)


def _parameters(said: dict[str, Any]) -> dict[str, Any]:
    found = said.get("parameters", {})
    if not isinstance(found, dict):
        raise InstancesRefused("parameters are not an object")
    return found
