"""Valid bodies of uploads, and how they are spoilt."""

from __future__ import annotations

import tarfile
from typing import Any

import numpy as np
from hypothesis import strategies as st

from service.uploads.convert import Task
from service.uploads.formats import Name
from service.uploads.records import Format, Limits
from support.bodies import image, ndjson, parquet, tar, zipped
from support.site import npz

_X = np.arange(24, dtype=np.float32).reshape(4, 6)
_Y = np.array([0, 1, 2, 0])
_TEXTS = ["a", "b", "c", "d"]
_CLASSES = ("no", "yes", "maybe")
_IMAGES = [
    (f"{name}/{i}.{kind.lower()}", image(np.full((8, 8), 40 * i, np.uint8), kind))
    for i, (name, kind) in enumerate(zip(_CLASSES, ("PNG", "JPEG", "PNG"), strict=True))
]
_MANIFEST = ("manifest.ndjson", ndjson({"path": "no/0.png", "id": "a", "subject": "b", "label": 1}))
SEEDS: dict[Name, tuple[bytes, ...]] = {
    "npz": (npz(x=_X, y=_Y, subject=np.array(_TEXTS), id=np.array(_TEXTS)), npz(x=_X, y=_Y.astype(np.uint8))),
    "ndjson": (
        ndjson(*({"x": x.tolist(), "y": int(y), "id": t} for x, y, t in zip(_X, _Y, _TEXTS, strict=True))),
        ndjson({"x": [1] * 6, "y": "yes", "subject": "\u00e9\U0001f600"}),
    ),
    "parquet": (
        parquet({"x": list(_X), "y": _Y, "id": _TEXTS, "subject": _TEXTS}),
        parquet({"x": list(_X), "y": ["no", "yes", "no", "maybe"]}, compression="zstd", row_group_size=2),
    ),
    "tar": (
        tar([*_IMAGES, _MANIFEST]),
        tar([("no/" + "n" * 120 + ".png", _IMAGES[0][1])], kind=tarfile.PAX_FORMAT),
        tar([("no/" + "n" * 120 + ".png", _IMAGES[0][1])]),
    ),
    "zip": (zipped([*_IMAGES, _MANIFEST]),),
}


def task(kind: Name) -> Task:
    """Return what reads the seeds of this kind."""
    pictures = kind in ("tar", "zip")
    wanted = Format((1, 8, 8) if pictures else (6,), "uint8" if pictures else "float32", _CLASSES, core=False)
    return Task(kind, wanted, Limits(1000, 2**20), "email", bytes(32))


@st.composite
def spoilt(draw: st.DrawFn, kind: Name) -> bytes:
    """A valid body with a few bytes changed, put in, left out or repeated, or cut short; now and then any bytes."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=2000))
    data = bytearray(draw(st.sampled_from(SEEDS[kind])))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        length = draw(st.integers(1, 64))
        match draw(st.sampled_from(("change", "change", "bit", "put in", "leave out", "repeat", "cut"))):
            case "change":
                new = draw(st.sampled_from((b"\x00", b"\xff", b"\x7f\xff\xff\xff", b"9", b"-1", b"\n", b'"', b"[")))
                data[at : at + len(new)] = new
            case "bit" if data:
                data[at] ^= 1 << draw(st.integers(0, 7))
            case "put in":
                data[at:at] = draw(st.binary(min_size=1, max_size=length))
            case "leave out":
                del data[at : at + length]
            case "repeat":
                data[at:at] = data[at : at + length]
            case "cut":
                del data[at:]
    return bytes(data)


def json_values() -> st.SearchStrategy[Any]:
    """Any JSON, with numbers and texts that are near what programs take for granted."""
    edges = st.sampled_from([0, -1, 1, 2**31, 2**63, 2**64, -(2**63) - 1, 10**400, 1e308, 0.5, "", "\x00", "a" * 300])
    leaves = st.none() | st.booleans() | edges | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20)
    keys = st.sampled_from(["value", "type", "x", "format"]) | st.text(max_size=8)
    return st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4), max_leaves=12
    )
