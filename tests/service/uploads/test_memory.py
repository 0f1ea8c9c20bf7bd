"""Readers keep little in memory, whatever an upload is made of."""

from __future__ import annotations

import io
import tracemalloc

from support.world import CLASSES

from service.uploads.ndjson import open_ndjson
from service.uploads.records import Format, Limits
from service.uploads.row_errors import RowErrors


def test_lines_full_of_objects_do_not_fill_the_memory() -> None:
    """As Python objects, sixty kilobytes of brackets are more than a megabyte; only one line may be there at a time."""
    wanted = Format((6,), "float32", tuple(CLASSES), core=False)
    lines = io.BytesIO((b'{"x": [' + b"[]," * 20_000 + b'[]], "y": 0}\n') * 100)
    errors = RowErrors()
    tracemalloc.start()
    try:
        with open_ndjson(lines, wanted, Limits(1000, 2**20), errors) as chunks:
            assert sum(len(chunk.y) for chunk in chunks) == 100
        assert tracemalloc.get_traced_memory()[1] < 20 * 2**20
    finally:
        tracemalloc.stop()
    assert errors
