"""Bodies of uploads in every format, right ones and ones to break."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

CONTENT_TYPES = {
    "npz": "application/octet-stream",
    "ndjson": "application/x-ndjson",
    "parquet": "application/vnd.apache.parquet",
    "tar": "application/x-tar",
    "zip": "application/zip",
}


def ndjson(*rows: Any) -> bytes:
    """Return one line of JSON per row."""
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def parquet(columns: Mapping[str, Any], **options: Any) -> bytes:
    """Return a Parquet file of these columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = io.BytesIO()
    pq.write_table(pa.table(dict(columns)), file, **options)
    return file.getvalue()


def image(pixels: np.ndarray, kind: str = "PNG", **options: Any) -> bytes:
    """Return an image file of pixels (height, width) or (height, width, channels)."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def tar(files: Sequence[tuple[str, bytes]], *, kind: int = tarfile.GNU_FORMAT) -> bytes:
    """Return a tar archive of these files."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=kind) as archive:
        for path, content in files:
            info = tarfile.TarInfo(path)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def zipped(files: Sequence[tuple[str, bytes]], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Return a ZIP archive of these files."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for path, content in files:
            archive.writestr(path, content)
    return file.getvalue()
