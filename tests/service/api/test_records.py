"""Uploads: what is stored, and every way in which an archive can be wrong."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.site import Site, npz, open_site
from support.world import make_world

X = np.arange(24, dtype=np.float32).reshape(4, 6)
Y = np.array([0, 1, 2, 0])
SUBJECT = np.array(["planted-ada", "planted-ada", "planted-bob", "planted-cyd"])
ID = np.array(["r0", "r1", "r0", "r0"])
GOOD = {"x": X, "y": Y, "subject": SUBJECT, "id": ID}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One site for all the archives that must change nothing."""
    folder = tmp_path_factory.mktemp("shared")
    world = make_world(folder, f"sqlite:///{folder / 'ledger.sqlite'}")
    with open_site(world, folder, max_upload_bytes=200_000, max_unpacked_bytes=2**20, max_upload_records=5000) as site:
        assert site.upload(npz(**GOOD)).status_code == 202  # what is refused below differs from this in one thing
        yield site
    world.ledger.close()


def test_an_upload_is_stored_and_its_job_announced(any_site: Site) -> None:
    answer = any_site.upload(npz(**GOOD))
    assert answer.status_code == 202, answer.text
    body = answer.json()
    assert body["records"] == 4
    assert answer.headers["location"] == body["job_url"] == f"/v1/jobs/{body['job']}"
    job = any_site.client.get(body["job_url"]).json()
    assert (job["kind"], job["state"], job["upload"]) == ("ingest_upload", "ready", body["upload"])
    assert any_site.client.get(f"/v1/cohorts/{any_site.world.user_id}").json()["records"] == 4
    assert any_site.nudges == [1]


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_many_chunks_keep_every_row_in_order(site: Site, save: Callable[..., None]) -> None:
    n = 4500  # more than two chunks
    x = np.random.default_rng(0).normal(size=(n, 6)).astype(np.float32)
    y = np.arange(n) % 3
    file = io.BytesIO()
    save(file, id=np.array([f"id-{i}" for i in range(n)]), y=y.astype(np.uint8), x=x)
    assert site.upload(file.getvalue()).json()["records"] == n
    from workers.records import read_cohort

    stored, labels = read_cohort(site.world.ledger, site.world.user_id)
    order = np.lexsort(x.T)
    found = np.lexsort(stored.T)
    assert np.array_equal(stored[found], x[order])
    assert np.array_equal(labels[found], y[order])


def test_a_core_upload_has_no_job(site: Site) -> None:
    body = site.upload(npz(x=X, y=Y), site.world.core_id).json()
    assert (body["records"], body["job"], body["job_url"]) == (4, None, None)


def with_member(name: str, content: bytes, **arrays: Any) -> bytes:
    """Return an archive with one more member of raw bytes."""
    file = io.BytesIO(npz(**arrays))
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(name, content)
    return file.getvalue()


def header(text: str) -> bytes:
    """Return the start of a .npy file with this header."""
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


def pickled() -> bytes:
    file = io.BytesIO()
    np.savez(file, allow_pickle=True, x=X, y=np.array([0, 1, 2, None], dtype=object))
    return file.getvalue()


def deflated(name: str, size: int) -> bytes:
    """Return an archive whose member unpacks to `size` zeros."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, bytes(size))
    return file.getvalue()


def lying_bomb() -> bytes:
    """A member that declares 64 bytes and unpacks to a million."""
    data = bytearray(deflated("x.npy", 10**6))
    entry = data.index(b"PK\x01\x02")
    data[entry + 24 : entry + 28] = struct.pack("<L", 64)
    return bytes(data)


def overlapping() -> bytes:
    """Two members that share the same bytes."""
    data = bytearray(npz(x=X, y=Y))
    first = data.index(b"PK\x01\x02")
    second = data.index(b"PK\x01\x02", first + 4)
    data[second + 42 : second + 46] = data[first + 42 : first + 46]
    return bytes(data)


def flipped() -> bytes:
    """One bit of the data is wrong, so the checksum is."""
    data = bytearray(npz(x=X, y=Y))
    data[data.index(X[1].tobytes())] ^= 1
    return bytes(data)


def nan_at(*rows: int) -> np.ndarray:
    x = np.tile(X, (10, 1))
    x[list(rows), 3] = np.nan
    return x


BAD: dict[str, tuple[bytes, str]] = {
    "empty body": (b"", "empty"),
    "no archive": (b"not an archive at all, but longer than the end record", "no .npz"),
    "truncated": (npz(**GOOD)[:-40], "no .npz or ZIP archive, or was cut short"),
    "beginning cut off": (npz(**GOOD)[100:], "directory is not where"),
    "flipped bit": (flipped(), "damaged"),
    "y missing": (npz(x=X), "y is missing"),
    "x missing": (npz(y=Y), "x is missing"),
    "no members": (npz(), "x is missing"),
    "no records": (npz(x=X[:0], y=Y[:0]), "no records"),
    "wrong shape": (npz(x=X.reshape(4, 2, 3), y=Y), "shape [2, 3]"),
    "flat x": (npz(x=X.ravel(), y=Y), "shape []"),
    "one value": (npz(x=np.float32(1), y=Y), "single value"),
    "float64": (npz(x=X.astype(np.float64), y=Y), "type <f8"),
    "big-endian": (npz(x=X.astype(">f4"), y=Y), "type >f4"),
    "uint8": (npz(x=X.astype(np.uint8), y=Y), "type |u1"),
    "column by column": (npz(x=np.asfortranarray(X), y=Y), "column by column"),
    "class too large": (npz(x=X, y=np.array([0, 1, 3, 0])), "outside 0 to 2 (rows 2)"),
    "class negative": (npz(x=X, y=np.array([0, -1, 1, -7])), "(rows 1, 3)"),
    "class of 64 bits": (npz(x=X, y=np.array([0, 2**63, 1, 1], dtype=np.uint64)), "(rows 1)"),
    "class as float": (npz(x=X, y=Y.astype(float)), "whole number"),
    "classes one-hot": (npz(x=X, y=np.eye(4, 3, dtype=int)), "whole number"),
    "NaN": (npz(x=nan_at(5, 7), y=np.tile(Y, 10)), "(rows 5, 7)"),
    "NaN in many rows": (npz(x=nan_at(*range(30)), y=np.tile(Y, 10)), "18, 19, ..."),
    "infinity": (npz(x=np.where(X == 7, np.inf, X).astype(np.float32), y=Y), "(rows 1)"),
    "lengths differ": (npz(x=X, y=Y[:3]), "x 4, y 3"),
    "ids repeat": (npz(x=X, y=Y, id=np.array(["a", "b", "a", "a"])), "(rows 2, 3)"),
    "ids repeat for one subject": (npz(**{**GOOD, "id": np.array(["r0", " r0 ", "r0", "r0"])}), "(rows 1)"),
    "id empty": (npz(x=X, y=Y, id=np.array(["a", "", "c", "  "])), "it is empty (rows 1, 3)"),
    "subject with a control character": (npz(**{**GOOD, "subject": np.array(["a", "b\n", "c\td", "d"])}), "(rows 2)"),
    "subject too long": (npz(**{**GOOD, "subject": np.array(["a" * 1025] * 4)}), "1 to 1024"),
    "subject of many bytes": (npz(**{**GOOD, "subject": np.array(["\u4e2d" * 400] * 4)}), "longer than 1024 bytes"),
    "subject as bytes": (npz(**{**GOOD, "subject": SUBJECT.astype("S")}), "objects, not numbers or text"),
    "subject as numbers": (npz(**{**GOOD, "subject": np.arange(4)}), "one text per row"),
    "subject no Unicode": (
        npz(**{**GOOD, "subject": np.full(4, 0x110000, "<u4").view("<U1")}),
        "not Unicode (rows 0, 1, 2, 3)",
    ),
    "subject half a character": (npz(**{**GOOD, "subject": np.full(4, 0xD800, "<u4").view("<U1")}), "control"),
    "pickled": (pickled(), "objects, not numbers"),
    "structured": (npz(x=np.zeros(4, dtype=[("a", "f4")]), y=Y), "no plain array"),
    "dates": (npz(x=np.zeros((4, 6), "M8[s]"), y=Y), "objects, not numbers"),
    "other members": (npz(**GOOD, z=Y), "members other than id, subject, x, y"),
    "path as a name": (with_member("../../planted.npy", b"", x=X, y=Y), "members other than"),
    "absolute path": (with_member("/etc/planted.npy", b"", x=X, y=Y), "members other than"),
    "header no npy": (with_member("y.npy", b"hello", x=X), "no .npy array"),
    "header too long": (with_member("y.npy", b"\x93NUMPY\x02\x00\xff\xff\xff\x7f", x=X), "header of"),
    "header code": (with_member("y.npy", header("__import__('os').system('true')"), x=X), "cannot be read"),
    "header deep": (with_member("y.npy", header("-" * 900 + "1"), x=X), "cannot be read"),
    "header brackets": (with_member("y.npy", header("(" * 900), x=X), "cannot be read"),
    "header negative": (
        with_member("y.npy", header("{'descr': '<i8', 'fortran_order': False, 'shape': (-4,)}"), x=X),
        "no plain array",
    ),
    "header huge": (
        with_member("y.npy", header("{'descr': '<i8', 'fortran_order': False, 'shape': (999999999999,)}"), x=X),
        "different numbers of rows",
    ),
    "header type": (
        with_member("y.npy", header("{'descr': '<i8,<f4', 'fortran_order': False, 'shape': (4,)}"), x=X),
        "objects, not numbers",
    ),
    "data short": (
        with_member("y.npy", header("{'descr': '<i8', 'fortran_order': False, 'shape': (4,)}") + bytes(31), x=X),
        "ends before its last row",
    ),
    "data long": (
        with_member("y.npy", header("{'descr': '<i8', 'fortran_order': False, 'shape': (4,)}") + bytes(33), x=X),
        "longer than its header says",
    ),
    "zip bomb": (deflated("x.npy", 2**20 + 1), "unpacks to more than"),
    "zip bomb that lies": (lying_bomb(), "damaged"),
    "members overlap": (overlapping(), "overlap"),
    "too many records": (npz(x=np.zeros((5001, 6), np.float32), y=np.zeros(5001, np.uint8)), "more than 5000"),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("case", BAD)
def test_a_bad_archive_is_refused_and_changes_nothing(shared: Site, case: str) -> None:
    body, expected = BAD[case]
    before = shared.stored()
    answer = shared.upload(body)
    problem = answer.json()
    assert answer.status_code == 422, problem
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["type"] == "/problems/upload-refused"
    assert expected in problem["detail"], problem
    assert problem["detail"].startswith("Nothing was stored: ")
    assert "planted" not in answer.text
    assert shared.stored() == before


def test_rows_are_listed_for_programs(shared: Site) -> None:
    (fault,) = shared.upload(npz(x=nan_at(*range(30)), y=np.tile(Y, 10))).json()["errors"]
    assert (fault["pointer"], fault["rows"]) == ("#/x", list(range(20)))


def test_a_core_cohort_refuses_subjects(shared: Site) -> None:
    before = shared.stored()
    answer = shared.upload(npz(x=X, y=Y, subject=SUBJECT), shared.world.core_id)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "#/subject")
    assert shared.stored() == before


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"headers": {"Content-Type": "text/plain"}}, 415),
        ({"headers": {"Content-Type": "application/json"}}, 415),
        ({"params": {"subject_type": "no such type!"}}, 422),
        ({"cohort_id": "0" * 32}, 404),
        ({"cohort_id": "planted-not-an-id"}, 404),
    ],
)
def test_other_refusals_change_nothing(shared: Site, options: dict[str, Any], status: int) -> None:
    before = shared.stored()
    answer = shared.upload(npz(**GOOD), **options)
    assert (answer.status_code, answer.json()["status"]) == (status, status)
    assert "planted" not in answer.text
    assert shared.stored() == before


def test_too_large_a_body_is_refused_while_it_arrives(shared: Site) -> None:
    before = shared.stored()
    arrived = 0

    def endless() -> Iterator[bytes]:
        nonlocal arrived
        while arrived < 10**8:
            arrived += 65536
            yield bytes(65536)

    answer = shared.client.post(
        f"/v1/cohorts/{shared.world.user_id}/records",
        content=endless(),
        headers={"Content-Type": "application/octet-stream"},
    )
    assert answer.status_code == 413
    assert shared.upload(bytes(200_001)).status_code == 413  # by its declared length
    assert shared.stored() == before


def test_records_that_are_stored_already_are_refused(any_site: Site) -> None:
    assert any_site.upload(npz(**GOOD)).status_code == 202
    before = any_site.stored()
    answer = any_site.upload(npz(**GOOD))
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/records-clash")
    # The attempt itself is on record: an upload that failed, without records.
    assert any_site.stored() == {**before, "uploads": before["uploads"] + 1}


def test_somebody_who_asked_to_be_forgotten_is_refused(any_site: Site) -> None:
    asked = any_site.client.post("/v1/forget-requests", json={"subjects": [{"value": "planted-bob"}]})
    assert asked.status_code == 202
    any_site.world.work()  # nobody of that name: no_match, and remembered
    before = any_site.stored()
    answer = any_site.upload(npz(**GOOD))
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/subject-suppressed")
    assert answer.json()["errors"][0]["rows"] == [2]
    assert any_site.stored() == {**before, "uploads": before["uploads"] + 1}


def test_nothing_of_a_body_is_ever_a_file_with_a_name(site: Site) -> None:
    folder = Path(site.settings.data_dir)
    seen: list[set[str]] = []

    def slowly() -> Iterator[bytes]:
        body = npz(**GOOD)
        for start in range(0, len(body), 100):
            seen.append({path.name for path in folder.rglob("*") if path.is_file()})
            yield body[start : start + 100]

    before = {path.name for path in folder.rglob("*") if path.is_file()}
    answer = site.client.post(
        f"/v1/cohorts/{site.world.user_id}/records",
        content=slowly(),
        headers={"Content-Type": "application/octet-stream"},
    )
    assert answer.status_code == 202
    assert all(names <= before for names in seen)
    assert len(seen) > 10
