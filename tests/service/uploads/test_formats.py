"""Every format: the same records arrive whatever carries them, and everything that is wrong is said at once."""

from __future__ import annotations

import io
import json
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image, PngImagePlugin
from support.bodies import CONTENT_TYPES, image, ndjson, parquet, tar, zipped
from support.site import Site, npz, open_site
from support.world import CLASSES, make_world

from ledger import catalog
from workers.records import read_cohort

X = np.arange(24, dtype=np.float32).reshape(4, 6) / 2
Y = np.array([0, 1, 2, 0])
SUBJECT = ["planted-ada", "planted-ada", "planted-bob", "planted-cyd"]
ID = ["r0", "r1", "r0", "r0"]
PIXELS = np.random.default_rng(1).integers(0, 256, (4, 8, 8), dtype=np.uint8)
COLOUR = np.random.default_rng(2).integers(0, 256, (4, 5, 7, 3), dtype=np.uint8)
COLUMNS = [f"c{i}" for i in range(6)]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One site with a cohort of each kind."""
    folder = tmp_path_factory.mktemp("shared")
    world = make_world(folder, f"sqlite:///{folder / 'ledger.sqlite'}")
    with open_site(world, folder, max_upload_bytes=2**22, max_unpacked_bytes=2**20, max_upload_records=5000) as site:
        yield site
    world.ledger.close()


def cohort(site: Site, **form: Any) -> str:
    """Make a cohort of its own and return its id."""
    with site.world.ledger.database.begin() as tx:
        name = tx.new_id()
        form = {"kind": "user", "shape": [6], "dtype": "float32", "class_names": CLASSES} | form
        return catalog.create_cohort(tx, site.world.tenant_id, name=name, **form).id


def gray(site: Site) -> str:
    return cohort(site, shape=[1, 8, 8], dtype="uint8")


def send(site: Site, kind: str, body: bytes, cohort_id: str) -> Any:
    return site.upload(body, cohort_id, headers={"Content-Type": CONTENT_TYPES[kind]})


def stored(site: Site, cohort_id: str) -> tuple[np.ndarray, list[int]]:
    """Return what is stored, in the order of its bytes."""
    x, y = read_cohort(site.world.ledger, cohort_id)
    order = np.lexsort(x.reshape(len(x), -1).T)
    return x[order], y[order].tolist()


def folder(pixels: np.ndarray, kind: str = "PNG") -> list[tuple[str, bytes]]:
    """Return images as `<class>/<number>`."""
    return [
        (f"{CLASSES[y]}/{i}.{kind.lower()}", image(p, kind)) for i, (p, y) in enumerate(zip(pixels, Y, strict=True))
    ]


def rows(x: np.ndarray = X) -> list[dict[str, Any]]:
    return [
        {"x": values.tolist(), "y": int(y), "subject": s, "id": i}
        for values, y, s, i in zip(x, Y, SUBJECT, ID, strict=True)
    ]


def by_feature(**more: Any) -> dict[str, Any]:
    return {name: X[:, i] for i, name in enumerate(COLUMNS)} | {"y": Y} | more


FIXED = pa.FixedSizeListArray.from_arrays(pa.array(X.ravel()), 6)
SAME: dict[str, tuple[str, bytes, dict[str, Any]]] = {
    "npz": ("npz", npz(x=X, y=Y, subject=np.array(SUBJECT), id=np.array(ID)), {}),
    "ndjson": ("ndjson", ndjson(*rows()), {}),
    "ndjson without a last line break": ("ndjson", ndjson(*rows())[:-1], {}),
    "ndjson with class names": ("ndjson", ndjson(*(r | {"y": CLASSES[r["y"]]} for r in rows())), {}),
    "ndjson without subjects": ("ndjson", ndjson(*({"x": r["x"], "y": r["y"]} for r in rows())), {}),
    "parquet lists": ("parquet", parquet({"x": list(X), "y": Y, "id": ID, "subject": SUBJECT}), {}),
    "parquet fixed lists": ("parquet", parquet({"x": FIXED, "y": Y}, compression="zstd"), {}),
    "parquet doubles and names": ("parquet", parquet({"x": list(X.astype(float)), "y": [CLASSES[i] for i in Y]}), {}),
    "parquet columns": ("parquet", parquet(by_feature()), {"column_names": COLUMNS}),
    "parquet columns in another order": (
        "parquet",
        parquet(dict(reversed(by_feature(id=ID, subject=SUBJECT).items())), row_group_size=1),
        {"column_names": COLUMNS},
    ),
}


@pytest.mark.parametrize("case", SAME)
def test_the_same_records_arrive_in_every_format(shared: Site, case: str) -> None:
    kind, body, form = SAME[case]
    target = cohort(shared, **form)
    answer = send(shared, kind, body, target)
    assert (answer.status_code, answer.json().get("records")) == (202, 4), answer.text
    x, y = stored(shared, target)
    assert np.array_equal(x, X)
    assert y == Y.tolist()


@pytest.mark.parametrize("kind", ["tar", "zip", "pax", "stored"])
def test_images_arrive_as_their_pixels(shared: Site, kind: str) -> None:
    files = [("./" + path if kind == "tar" else path, data) for path, data in folder(PIXELS)]
    files += [("no/.DS_Store", b"x"), ("__MACOSX/no/._0.png", b"x")]
    body = {
        "tar": lambda: tar(files),
        "pax": lambda: tar([("yes/" + "n" * 150 + ".png", files[0][1]), *files[1:]], kind=tarfile.PAX_FORMAT),
        "zip": lambda: zipped(files),
        "stored": lambda: zipped(files, zipfile.ZIP_STORED),
    }[kind]()
    target = gray(shared)
    answer = send(shared, "tar" if kind in ("tar", "pax") else "zip", body, target)
    assert answer.status_code == 202, answer.text
    x, _ = stored(shared, target)
    assert np.array_equal(x, PIXELS[np.lexsort(PIXELS.reshape(4, -1).T)][:, None])


@pytest.mark.parametrize("layout", [None, "channels_last"])
def test_colour_images_take_the_cohorts_layout(shared: Site, layout: str | None) -> None:
    target = cohort(shared, shape=[5, 7, 3] if layout else [3, 5, 7], dtype="uint8", layout=layout)
    assert send(shared, "zip", zipped(folder(COLOUR)), target).status_code == 202
    x, _ = read_cohort(shared.world.ledger, target)
    wanted = COLOUR if layout else np.moveaxis(COLOUR, -1, 1)
    assert sorted(map(bytes, x)) == sorted(np.ascontiguousarray(w).tobytes() for w in wanted)


def test_a_manifest_gives_ids_subjects_and_labels(shared: Site) -> None:
    files = [(f"anywhere/deep/{i}.png", image(p)) for i, p in enumerate(PIXELS)]
    lines = [
        {"path": path, "id": i, "subject": s, "label": CLASSES[y]}
        for (path, _), i, s, y in zip(files, ID, SUBJECT, Y, strict=True)
    ]
    target = gray(shared)
    answer = send(shared, "tar", tar([*files, ("manifest.ndjson", ndjson(*lines))]), target)
    assert answer.status_code == 202, answer.text
    forgotten = shared.client.post(
        "/v1/forget-requests", json={"subjects": [{"value": "planted-bob"}], "cohorts": [target]}
    )
    assert forgotten.status_code == 202
    _, y = read_cohort(shared.world.ledger, target)
    assert sorted(y.tolist()) == sorted(Y.tolist())


def test_missing_values_are_taken_where_they_may_be(shared: Site) -> None:
    holes = X.copy()
    holes[2, 3] = np.nan
    lines = [{"x": [None if np.isnan(v) else float(v) for v in x], "y": 0} for x in holes]
    lists = pa.array([[None if np.isnan(v) else float(v) for v in x] for x in holes])
    for kind, body in (("ndjson", ndjson(*lines)), ("parquet", parquet({"x": lists, "y": Y}))):
        target = cohort(shared, missing="core_mean")
        assert send(shared, kind, body, target).status_code == 202
        assert np.isnan(read_cohort(shared.world.ledger, target)[0]).sum() == 1
        refused = send(shared, kind, body, cohort(shared))
        assert (refused.status_code, refused.json()["errors"][0]["rows"]) == (422, [2])


def line(**changes: Any) -> bytes:
    return ndjson(rows()[0], rows()[1] | changes)


def broken_png() -> bytes:
    data = bytearray(image(PIXELS[0]))
    data[data.index(b"IDAT") + 8] ^= 0xFF
    return bytes(data)


def png_bomb() -> bytes:
    """An image that says it has 8 x 8 pixels and holds a hundred million bytes."""
    chunk = b"IDAT" + zlib.compress(bytes(10**8))
    data = image(PIXELS[0])
    start = data.index(b"IDAT") - 4
    length = struct.unpack(">I", data[start : start + 4])[0]
    new = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return data[:start] + new + data[start + 12 + length :]


def text_bomb() -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_text("planted", "a" * 50_000_000, zip=True)
    file = io.BytesIO()
    Image.fromarray(PIXELS[0]).save(file, "PNG", pnginfo=info)
    return file.getvalue()


def animated() -> bytes:
    file = io.BytesIO()
    frames = [Image.fromarray(p) for p in PIXELS]
    frames[0].save(file, "PNG", save_all=True, append_images=frames[1:])
    return file.getvalue()


def linked() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        info = tarfile.TarInfo("no/a.png")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(info)
    return file.getvalue()


def one(data: bytes, path: str = "no/0.png") -> bytes:
    return tar([(path, data)])


def footer_bomb() -> bytes:
    return b"PAR1" + bytes(100) + struct.pack("<I", 2**31 - 1) + b"PAR1"


def dictionary_bomb() -> bytes:
    """A text of a megabyte that four thousand rows name: a few kilobytes that would become gigabytes."""
    texts = pa.DictionaryArray.from_arrays(pa.array(np.zeros(4096, np.int32)), pa.array(["a" * 10**6]))
    x = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(4096 * 6, np.float32)), 6)
    return parquet({"x": x, "y": np.zeros(4096, np.int64), "id": texts}, compression="zstd")


def list_bomb() -> bytes:
    """One row whose list has a hundred million zeros."""
    return parquet({"x": pa.array([np.zeros(10**8, np.float32)]), "y": [0]}, compression="zstd")


BAD: dict[str, tuple[str, bytes, str]] = {
    "ndjson empty": ("ndjson", b"", "no records"),
    "ndjson no JSON": ("ndjson", b"hello\n" + ndjson(rows()[0]), "not valid JSON (rows 0)"),
    "ndjson empty line": ("ndjson", ndjson(rows()[0]) + b"\n" + ndjson(rows()[1]), "not valid JSON (rows 1)"),
    "ndjson list": ("ndjson", b"[1]\n", "not JSON objects (rows 0)"),
    "ndjson not UTF-8": ("ndjson", b'{"x": "\xff"}\n', "not valid JSON (rows 0)"),
    "ndjson NaN": ("ndjson", b'{"x": [NaN, 1, 1, 1, 1, 1], "y": 0}\n', "not valid JSON (rows 0)"),
    "ndjson deep": ("ndjson", b'{"x": ' + b"[" * 5000 + b"]" * 5000 + b"}\n", "not valid JSON (rows 0)"),
    "ndjson other field": ("ndjson", line(planted=1), "other than id, subject, x, y (rows 1)"),
    "ndjson long line": ("ndjson", b'{"x": "' + b"a" * 10**5, "line 0 is longer than"),
    "ndjson short": ("ndjson", line(x=[1, 2]), "shape (rows 1)"),
    "ndjson ragged": ("ndjson", line(x=[[1], 2, 3, 4, 5, 6]), "shape (rows 1)"),
    "ndjson texts": ("ndjson", line(x=["1"] * 6), "shape (rows 1)"),
    "ndjson truths": ("ndjson", line(x=[True] * 6), "shape (rows 1)"),
    "ndjson null": ("ndjson", line(x=[None] * 6), "shape (rows 1)"),
    "ndjson huge": ("ndjson", line(x=[10**400, 1, 1, 1, 1, 1]), "shape (rows 1)"),
    "ndjson beyond float32": ("ndjson", line(x=[1e39, 1, 1, 1, 1, 1]), "too large for float32 (rows 1)"),
    "ndjson class": ("ndjson", line(y=3), "class name (rows 1)"),
    "ndjson class as truth": ("ndjson", line(y=True), "class name (rows 1)"),
    "ndjson class as float": ("ndjson", line(y=1.0), "class name (rows 1)"),
    "ndjson class name": ("ndjson", line(y="planted"), "class name (rows 1)"),
    "ndjson no class": ("ndjson", line(y=None), "class name (rows 1)"),
    "ndjson id": ("ndjson", line(id=7), "no text of at most 1024 characters (rows 1)"),
    "ndjson ids repeat": ("ndjson", line(id="r0"), "repeat the id of an earlier row of the same subject (rows 1)"),
    "ndjson subject": ("ndjson", line(subject="a\nb"), "control characters (rows 1)"),
    "parquet empty": ("parquet", b"", "the body is empty"),
    "parquet no parquet": ("parquet", b"hello, hello, hello", "no Parquet file"),
    "parquet cut": ("parquet", SAME["parquet lists"][1][:-9], "no Parquet file"),
    "parquet beginning cut": ("parquet", b"PAR1" + SAME["parquet lists"][1][300:], "damaged"),
    "parquet footer": ("parquet", footer_bomb(), "footer is larger"),
    "parquet no y": ("parquet", parquet({"x": list(X)}), "y is missing"),
    "parquet columns without names": ("parquet", parquet(by_feature()), "does not name its columns"),
    "parquet lengths": (
        "parquet",
        parquet({"x": [[1.0] * 6, [1.0]] * 2, "y": Y}),
        "another length than the cohort's records (rows 1, 3)",
    ),
    "parquet null list": (
        "parquet",
        parquet({"x": pa.array([[1.0] * 6, None, [1.0] * 6, None]), "y": Y}),
        "(rows 1, 3)",
    ),
    "parquet null value": (
        "parquet",
        parquet({"x": pa.array([[1.0] * 6, [None] * 6]), "y": [0, 1]}),
        "missing, infinite or too large for float32 (rows 1)",
    ),
    "parquet texts": ("parquet", parquet({"x": [["a"] * 6], "y": [0]}), "x holds no numbers"),
    "parquet class": ("parquet", parquet({"x": list(X), "y": [0, 1, 3, -1]}), "(rows 2, 3)"),
    "parquet null class": ("parquet", parquet({"x": list(X), "y": pa.array([0, None, 1, 2])}), "(rows 1)"),
    "parquet class name": ("parquet", parquet({"x": list(X), "y": ["no", "planted", "yes", None]}), "(rows 1, 3)"),
    "parquet ids as numbers": ("parquet", parquet({"x": list(X), "y": Y, "id": Y}), "id is no column of texts"),
    "parquet too many": (
        "parquet",
        parquet(
            {
                "x": pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(6 * 5001, np.float32)), 6),
                "y": np.zeros(5001, int),
            }
        ),
        "more than 5000",
    ),
    "parquet dictionary bomb": ("parquet", dictionary_bomb(), "more than 1024 characters (rows 0, 1"),
    "parquet list bomb": ("parquet", list_bomb(), "more memory than"),
    "tar empty": ("tar", b"", "the body is empty"),
    "tar no tar": ("tar", b"hello" * 200, "no tar file"),
    "tar of nothing": ("tar", tar([]), "no records"),
    "tar cut": ("tar", tar(folder(PIXELS))[:3000], "cut short"),
    "tar link": ("tar", linked(), "links"),
    "tar upwards": ("tar", one(image(PIXELS[0]), "no/../../planted.png"), "point upwards"),
    "tar absolute": ("tar", one(image(PIXELS[0]), "/no/planted.png"), "point upwards"),
    "no such class": (
        "tar",
        one(image(PIXELS[0]), "planted/0.png"),
        "named as one of the classes, and the manifest gives no label (rows 0)",
    ),
    "no folder": ("tar", one(image(PIXELS[0]), "planted.png"), "named as one of the classes"),
    "no image": ("tar", tar([*folder(PIXELS), ("no/a.png", b"hello")]), "cannot be decoded as PNG or JPEG (rows 4)"),
    "broken image": ("tar", one(broken_png()), "cannot be decoded"),
    "other size": ("tar", one(image(PIXELS[0][:7])), "height and width (rows 0)"),
    "colour": ("tar", one(image(COLOUR[0])), "height and width"),
    "sixteen bits": ("tar", one(image(PIXELS[0].astype(np.uint16))), "other channels"),
    "GIF": ("tar", one(image(PIXELS[0], "GIF")), "cannot be decoded as PNG or JPEG"),
    "animated": ("tar", one(animated()), "several frames"),
    "image bomb": ("tar", one(image(np.zeros((14000, 14000), np.uint8))), "cannot be decoded"),
    "text bomb": ("tar", one(text_bomb()), "cannot be decoded"),
    "large file": ("tar", one(bytes(2**20 + 257)), "larger than such an image can be"),
    "manifest of others": (
        "tar",
        tar([*folder(PIXELS), ("manifest.ndjson", ndjson({"path": "planted"}))]),
        "names 1 paths that are not",
    ),
    "manifest twice": (
        "tar",
        tar([*folder(PIXELS), ("manifest.ndjson", ndjson(*[{"path": "no/0.png"}] * 2))]),
        "earlier line (rows 1)",
    ),
    "two manifests": ("tar", tar([("manifest.ndjson", b""), ("manifest.ndjson", b"")]), "two manifests"),
    "zip no zip": ("zip", b"hello" * 20, "no .npz or ZIP"),
    "zip empty name": ("zip", zipped([("QQ", image(PIXELS[0]))]).replace(b"QQ", b"\0Q"), "cannot be printed"),
    "zip bomb": ("zip", zipped([("no/0.png", bytes(2**20 + 1))]), "unpacks to more than"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_upload_is_refused_and_changes_nothing(shared: Site, case: str) -> None:
    kind, body, expected = BAD[case]
    target = gray(shared) if kind in ("tar", "zip") else cohort(shared)
    before = shared.stored()
    answer = send(shared, kind, body, target)
    problem = answer.json()
    assert (answer.status_code, problem["type"]) == (422, "/problems/upload-refused"), problem
    assert expected in problem["detail"], problem
    assert problem["detail"].startswith("Nothing was stored: ")
    assert "planted" not in answer.text
    assert shared.stored() == before


def test_pixels_beyond_the_image_are_never_unpacked(shared: Site) -> None:
    """The decoder stops at the last pixel: a hundred million bytes behind it cost nothing, and are not stored."""
    target = gray(shared)
    assert send(shared, "tar", one(png_bomb()), target).status_code in (202, 422)
    assert read_cohort(shared.world.ledger, target)[0].nbytes <= 64


def test_everything_that_is_wrong_is_said_at_once(shared: Site) -> None:
    lines = [
        r | {"id": f"i{n}", "y": 9 if n % 2 else 0, "x": [1] * (5 if n == 4 else 6)} for n, r in enumerate(rows() * 10)
    ]
    problem = send(shared, "ndjson", ndjson(*lines), cohort(shared)).json()
    found = {fault["pointer"]: fault["rows"] for fault in problem["errors"]}
    assert found == {"#/y": [n for n in range(40) if n % 2][:19], "#/x": [4]}
    assert sum(map(len, found.values())) == 20
    assert json.dumps(problem).count("planted") == 0


@pytest.mark.parametrize("kind", ["ndjson", "parquet", "tar"])
def test_core_cohorts_refuse_subjects(shared: Site, kind: str) -> None:
    bodies = {
        "ndjson": lambda: ndjson(*rows()),
        "parquet": lambda: SAME["parquet lists"][1],
        "tar": lambda: tar([*folder(PIXELS), ("manifest.ndjson", ndjson({"path": "no/0.png", "subject": "planted"}))]),
    }
    form = {"shape": [1, 8, 8], "dtype": "uint8"} if kind == "tar" else {}
    answer = send(shared, kind, bodies[kind](), cohort(shared, kind="core", **form))
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "#/subject")


def test_images_need_a_cohort_of_images(shared: Site) -> None:
    answer = send(shared, "tar", tar(folder(PIXELS)), cohort(shared))
    assert "no images of bytes" in answer.json()["detail"]
