"""Numbers of any kind to the type of a cohort, without changing a value silently."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from service.uploads.records import Format
from service.uploads.row_errors import RowErrors

LEAVE_OUT = "Correct these rows or leave them out"


def to_cohort(values: npt.NDArray[Any], wanted: Format, numbers: npt.NDArray[np.int64], errors: RowErrors) -> Any:
    """Return values (n, k), integers or floats, as x (n, *shape). Rows with others go into `errors` by their number.

    For uint8: whole numbers of 0 to 255. For float32: rounded to the nearest; NaN only where values may be missing.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        x = values.astype(wanted.dtype)
    if wanted.dtype == "uint8":
        broken = ~((values >= 0) & (values <= 255) & (values == np.rint(values))).all(axis=1)
        why = "x has values that are not whole numbers of 0 to 255"
    else:
        broken = ~(~np.isinf(x) if wanted.missing_allowed else np.isfinite(x)).all(axis=1)
        why = "x has values that are missing, infinite or too large for float32"
    errors.add("x", why, numbers[broken].tolist(), LEAVE_OUT)
    return x.reshape(len(values), *wanted.shape)
