"""From a prediction request's body to records, for the model that is to answer."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import numpy.typing as npt

from service.refusals import BodyUnreadable, InstancesRefused, UploadRefused
from service.serving.model import ServedModel
from service.serving.passes import Prepare
from service.uploads.archive import open_archive
from service.uploads.npy import open_array
from unlearning.input_spec import CORE_MEAN, InputSpec

FIELD = "instances"


def from_json(body: bytes) -> Prepare:
    """Read `{"instances": nested lists (n, *shape)}`. What comes back raises BodyUnreadable, InstancesRefused."""

    def prepare(model: ServedModel) -> npt.NDArray[Any]:
        return _checked(numbers_of(_instances(body), model.public.input_spec), model)

    return prepare


def from_archive(body: bytes, *, largest: int) -> Prepare:
    """Read a .npz archive with one member x of the model's type. What comes back raises InstancesRefused."""

    def prepare(model: ServedModel) -> npt.NDArray[Any]:
        try:
            with open_archive(io.BytesIO(body), allowed=("x",), largest=largest) as members:
                if "x" not in members:
                    raise InstancesRefused("the array x is missing")
                array = open_array("x", members["x"])
                x = array.read(array.rows)
                array.check_end()
        except UploadRefused as problem:
            raise InstancesRefused(problem.why) from problem
        return _checked(x, model)

    return prepare


def _instances(body: bytes) -> list[Any]:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as problem:
        raise BodyUnreadable("it cannot be parsed as JSON") from problem
    instances = content.get(FIELD) if isinstance(content, dict) and len(content) == 1 else None
    if not isinstance(instances, list):
        raise InstancesRefused(f'the body must be {{"{FIELD}": [...]}} and nothing else')
    return instances


def numbers_of(instances: list[Any], spec: InputSpec) -> npt.NDArray[Any]:
    """Return nested lists of numbers in the type that records are stored in. Raises InstancesRefused."""
    try:
        values = np.array(instances)
        if values.dtype.kind == "O" and spec.missing == CORE_MEAN and all(map(_is_number_or_null, values.flat)):
            values = values.astype(np.float64)  # null says that a value is missing, and becomes NaN
    except (ValueError, OverflowError, RecursionError) as problem:
        raise InstancesRefused("they are not nested lists of equal lengths") from problem
    return stored_as(values, spec)


def stored_as(values: npt.NDArray[Any], spec: InputSpec) -> npt.NDArray[Any]:
    """Return numbers in the type that records are stored in. Raises InstancesRefused: they do not fit into it."""
    if values.dtype.kind not in "iuf":
        raise InstancesRefused("they are not all numbers that can be stored")
    if spec.dtype == "uint8":
        if values.size and not ((values == np.rint(values)) & (values >= 0) & (values <= 255)).all():
            raise InstancesRefused("their values are not all whole numbers from 0 to 255")
        return values.astype(np.uint8)
    with np.errstate(over="ignore"):  # what becomes infinite is refused next
        return values.astype(np.float32)


def _is_number_or_null(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _checked(x: npt.NDArray[Any], model: ServedModel) -> npt.NDArray[Any]:
    if not len(x):
        raise InstancesRefused("there are none")
    model.public.input_spec.check(x)
    return x
