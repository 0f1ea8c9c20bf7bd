"""Tensors of the protocol: their types, and their bytes in the binary extension (little-endian, row-major)."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from service.refusals import InstancesRefused
from service.serving.instances import numbers_of, stored_as
from unlearning.input_spec import InputSpec

INPUT = "x"
"""The name of a model's one input, as in an archive."""
NUMBERS = {
    "UINT8": "<u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "<i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}
"""Types that records can be sent in; BOOL and BYTES are no numbers."""
MOST_DIMENSIONS = 8


def datatype_of(spec: InputSpec) -> str:
    """Return the type that records are stored in."""
    return "UINT8" if spec.dtype == "uint8" else "FP32"


def checked_shape(shape: object) -> tuple[int, ...]:
    """Return a shape from JSON. Raises InstancesRefused."""
    if not isinstance(shape, list) or not 1 <= len(shape) <= MOST_DIMENSIONS:
        raise InstancesRefused(f"the shape is not a list of 1 to {MOST_DIMENSIONS} numbers")
    if not all(type(side) is int and 0 <= side < 2**31 for side in shape):
        raise InstancesRefused("the shape is not made of whole numbers from 0 on")
    return tuple(shape)


def from_data(data: object, shape: tuple[int, ...], spec: InputSpec) -> npt.NDArray[Any]:
    """Return records from JSON, flat or nested. Raises InstancesRefused."""
    if not isinstance(data, list):
        raise InstancesRefused("the data are not a list")
    values = numbers_of(data, spec)
    if values.shape not in ((math.prod(shape),), shape):
        raise InstancesRefused("the data are not as many as the shape says, flat or nested")
    return values.reshape(shape)


def from_bytes(blob: bytes, datatype: str, shape: tuple[int, ...], spec: InputSpec) -> npt.NDArray[Any]:
    """Return records from binary data. Raises InstancesRefused."""
    kind = np.dtype(NUMBERS[datatype])
    if len(blob) != math.prod(shape) * kind.itemsize:
        raise InstancesRefused("the binary data have another size than the shape and the type say")
    return stored_as(np.frombuffer(blob, kind).reshape(shape), spec)


def to_bytes(values: Sequence[str] | npt.NDArray[Any]) -> bytes:
    """Return the binary form of a tensor; texts have their length before them."""
    if isinstance(values, np.ndarray):
        return np.ascontiguousarray(values.astype(values.dtype.newbyteorder("<"), copy=False)).tobytes()
    encoded = [value.encode() for value in values]
    return b"".join(struct.pack("<I", len(text)) + text for text in encoded)
