"""What strangers and careless clients send to a real server: refused with a 4xx, and nothing changes, nothing fails.

Webhooks to internal addresses and tampered signatures have files of their own (tests/workers/webhooks, tests/ledger/
webhooks, tests/service/test_client_webhooks.py).
"""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import socket
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from sqlalchemy import func, select
from support import nursery
from support.deployment import Deployment
from support.site import npz
from support.waiting import wait_until

from ledger.ledger import Ledger, open_ledger
from ledger.settings import LedgerSettings
from ledger.tables import Base

pytestmark = pytest.mark.acceptance
JSON = {"Content-Type": "application/json"}
NPZ = {"Content-Type": "application/octet-stream"}
MOST = 2**20
COHORT = {"name": "c", "kind": "user", "shape": [2], "dtype": "uint8", "class_names": ["a", "b"]}
A_KEY = {"Idempotency-Key": '"a-key"'}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A real server process without a worker, which would change things by itself."""
    settings = {
        "LACUNA_SLOW_HEADERS_S": "2",
        "LACUNA_SLOW_BODY_S": "2",
        "LACUNA_MAX_BODY_BYTES": str(MOST),
        "LACUNA_MAX_UNPACKED_BYTES": str(2**22),
    }
    deployment = Deployment(tmp_path_factory.mktemp("attacked"), settings=settings, start=nursery.start)
    process = deployment.start_server()
    yield deployment
    said = (deployment.folder / "server-0.err").read_text()
    alive = process.poll() is None
    deployment.stop()
    assert alive
    assert "request.crashed" not in said
    assert "Traceback" not in said


@pytest.fixture(scope="module")
def ledger(server: Deployment) -> Iterator[Ledger]:
    opened = open_ledger(LedgerSettings(data_dir=server.folder / "data"), clock=lambda: 0, random=os.urandom)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def cohort(server: Deployment) -> str:
    """An empty user cohort; made with the idempotency key `a-key`."""
    with httpx.Client(
        base_url=server.url, headers={"Authorization": f"Bearer {server.key}"}, trust_env=False
    ) as client:
        made = client.post("/v1/cohorts", json=COHORT, headers=A_KEY)
    return str(made.json()["id"])


@pytest.fixture
def client(server: Deployment, ledger: Ledger, cohort: str) -> Iterator[httpx.Client]:
    """A client whose key may do everything. After the test everything must be as before, and the server answer."""
    headers = {"Authorization": f"Bearer {server.key}"}
    with httpx.Client(base_url=server.url, headers=headers, trust_env=False, timeout=30) as found:
        before = stored(server, ledger)
        yield found
        assert found.get("/v1/me").status_code == 200
        # What an interrupted upload has left is taken back once the server sees that its client is gone.
        wait_until(lambda: stored(server, ledger) == before, 30, "everything to be as before")


def stored(server: Deployment, ledger: Ledger) -> dict[str, Any]:
    """Count the rows of every table and the files of objects."""
    with ledger.database.read() as tx:
        counts = {
            name: tx.session.execute(select(func.count()).select_from(table)).scalar_one()
            for name, table in Base.metadata.tables.items()
            if name not in ("uploads", "leases")  # uploads that failed are kept to say so
        }
    return {**counts, "objects": sum(1 for _ in (server.folder / "data" / "objects").rglob("*") if _.is_file())}


def raw(server: Deployment, request: bytes, *, timeout_s: float = 30) -> bytes:
    """Send bytes as they are and return all that is answered until the connection ends."""
    at = urlsplit(server.url)
    with socket.create_connection((at.hostname or "", at.port or 0), timeout=timeout_s) as connection:
        connection.sendall(request)
        answer = b""
        while part := connection.recv(65536):
            answer += part
    return answer


def status_of(answer: bytes) -> int:
    found = re.match(rb"HTTP/1\.1 (\d{3}) ", answer)
    assert found is not None, answer[:200]
    return int(found[1])


PATHS = [
    "/v1/../v1/me",
    "//v1/me",
    "/v1//me",
    "/v1/./me",
    "/V1/me",
    "/v1/me/",
    "/v1/me;x=1",
    "/v1/%6de/..",
    "/%76%31/me%00",
    "/v1/me%00.json",
    "/v1/%2e%2e/dashboard",
    "/v1/forget-requests/%2e%2e%2fmodels",
    "/v1/forget-requests/..%2f..%2f..%2fetc%2fpasswd",
    "/v1/forget-requests/%c0%ae%c0%ae",
    "/v1/forget-requests/" + "a" * 20_000,
    "/dashboard/static/../../../../etc/passwd",
    "/dashboard/static/%2e%2e/%2e%2e/settings.py",
    "/dashboard/static/..%2f..%2fsettings.py",
    "/dashboard/static/..%5c..%5csettings.py",
    "/dashboard/static//etc/passwd",
    "/problems/../v1/me",
    "/problems/%2e%2e%2fv1%2fme",
    "http://127.0.0.1/v1/secret",
    "/v1/events\\..\\me",
    "*",
]


@pytest.mark.parametrize("with_key", [True, False], ids=["key", "no-key"])
def test_paths_that_are_none_open_nothing(server: Deployment, client: httpx.Client, with_key: bool) -> None:
    key = f"Authorization: Bearer {server.key}\r\n" if with_key else ""
    for path in PATHS:
        said = raw(server, f"GET {path} HTTP/1.1\r\nHost: x\r\n{key}Connection: close\r\n\r\n".encode())
        assert 400 <= status_of(said) < 500, (path, said[:300])
        assert b"root:" not in said
        assert b"ServiceSettings" not in said


def deep(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


@pytest.mark.parametrize(
    "body",
    [
        deep(100_000),
        b'{"everything":' * 50_000 + b"true" + b"}" * 50_000,
        b'{"labels":' + deep(50_000) + b"}",
        b'{"labels":[' + b"1" * 100_000 + b"]}",
        b'{"labels":[1e99999]}',
        b'{"everything": NaN}',
        b'{"record_ids":[' + b",".join([b'"x"'] * 50_000) + b"]}",
        b'{"everything":true,"\\ud800":1}',
        b'{"everything":true}garbage',
        b"\xff\xfe\x00{}",
        b"",
    ],
    ids=[
        "deep",
        "deep-objects",
        "deep-labels",
        "digits",
        "infinite",
        "nan",
        "many",
        "surrogate",
        "rest",
        "no-text",
        "none",
    ],
)
def test_json_that_is_too_much(client: httpx.Client, body: bytes) -> None:
    answer = client.post("/v1/forget-requests", content=body, headers=JSON)
    assert 400 <= answer.status_code < 500, answer.text[:300]
    assert len(answer.content) < 10_000


def test_bodies_that_are_too_large_announced_or_not(server: Deployment, client: httpx.Client) -> None:
    large = b'{"everything":true,"x":"' + b"a" * (2 * MOST) + b'"}'
    assert client.post("/v1/forget-requests", content=large, headers=JSON).status_code == 413
    chunked = (large[i : i + 65536] for i in range(0, len(large), 65536))
    assert client.post("/v1/forget-requests", content=chunked, headers=JSON).status_code == 413
    key = f"Authorization: Bearer {server.key}\r\nContent-Type: application/json\r\nHost: x\r\nConnection: close\r\n"
    for length in ("99999999999999999999", "-1", "1 1", "0x10", "1, 2"):
        said = raw(server, f"POST /v1/forget-requests HTTP/1.1\r\n{key}Content-Length: {length}\r\n\r\n{{}}".encode())
        assert 400 <= status_of(said) < 500, (length, said[:200])


def bomb(size: int) -> bytes:
    """Return an .npz whose one array unpacks to `size` bytes of zeros."""
    file, header = io.BytesIO(), io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (size,)})
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w") as member:
        member.write(header.getvalue())
        for _ in range(size // 2**20):
            member.write(bytes(2**20))
    return file.getvalue()


def test_what_unpacks_to_too_much_is_not_unpacked(client: httpx.Client, cohort: str) -> None:
    packed = gzip.compress(b'{"everything":true,"pad":"' + bytes(16 * 2**20) + b'"}')
    assert len(packed) < MOST
    for encoding in ("gzip", "deflate", "br", "gzip, gzip"):
        answer = client.post("/v1/forget-requests", content=packed, headers={**JSON, "Content-Encoding": encoding})
        assert 400 <= answer.status_code < 500
    records = f"/v1/cohorts/{cohort}/records"
    for body, headers in (
        (bomb(16 * 2**20), NPZ),
        (packed, NPZ),
        (gzip.compress(npz(x=np.zeros((1, 2), np.uint8), y=np.zeros(1))), {**NPZ, "Content-Encoding": "gzip"}),
        (npz(x=np.zeros((3 * 2**20, 2), np.uint8), y=np.zeros(3 * 2**20, np.int64)), NPZ),
    ):
        answer = client.post(records, content=body, headers=headers)
        assert 400 <= answer.status_code < 500, answer.text


def test_an_idempotency_key_opens_one_request_only(client: httpx.Client, cohort: str) -> None:
    for path, body in (
        ("/v1/cohorts", {**COHORT, "name": "e"}),
        ("/v1/forget-requests", {"everything": True}),
        ("/v1/keys", {"label": "mine", "scopes": ["admin"]}),
        ("/v1/webhooks", {"url": "https://hooks.example.org/", "label": "mine"}),
    ):
        refused = client.post(path, json=body, headers=A_KEY)
        assert (refused.status_code, refused.json()["type"]) == (422, "/problems/idempotency-key-reused")
    assert client.post("/v1/cohorts", json=COHORT, headers=A_KEY).json()["id"] == cohort


INJECTED = [
    b"Authorization: Bearer x\r\n Set-Cookie: a=b",  # folded
    b"Content-Length: 2\r\nContent-Length: 3",
    b"Content-Length: 2\r\nTransfer-Encoding: chunked",
    b"Transfer-Encoding: chunked, identity",
    b"Transfer-Encoding : chunked",
    b"Bad Name: 1",
    b"Name\x00: 1",
    b"X: a\x00b",
    b"X: " + b"a" * 100_000,
    b"".join(b"X-%d: 1\r\n" % i for i in range(20_000))[:-2],
]


@pytest.mark.parametrize("header", INJECTED, ids=range(len(INJECTED)))
def test_headers_that_smuggle_something(server: Deployment, client: httpx.Client, header: bytes) -> None:
    request = (
        b"POST /v1/forget-requests HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" + header + b"\r\n\r\n{}"
    )
    try:
        said = raw(server, request)
    except ConnectionError:  # it closed the door while we were talking
        return
    assert 400 <= status_of(said) < 500, said[:300]


def test_nothing_that_is_sent_comes_back_as_a_header(client: httpx.Client) -> None:
    evil = "a\r\nSet-Cookie: a=b"
    for answer in (
        client.get("/v1/forget-requests", params={"cursor": evil}),
        client.get("/v1/forget-requests", params={"state": evil}),
        client.post("/v1/webhooks", json={"url": "https://hooks.example.org/" + evil, "label": "x"}),
        client.post("/v1/webhooks", json={"url": "https://hooks.example.org/", "label": evil}),
        client.post("/v1/keys", json={"label": evil, "scopes": ["predict"]}),
        client.get("/v1/jobs", params={"limit": evil}),
    ):
        assert 400 <= answer.status_code < 500
        assert "set-cookie" not in answer.headers
    echoed = client.get("/v1/nowhere", headers={"X-Request-Id": "mine", "X-Forwarded-Host": "evil.example.org"})
    assert echoed.headers["x-request-id"] != "mine"
    assert "evil.example.org" not in str(echoed.headers) + echoed.text


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://169.254.169.254/latest/meta-data/",
        "https://0x7f000001/",
        "http://example.org/",
        "file:///etc/passwd",
    ],
)
def test_webhooks_to_this_machine(client: httpx.Client, url: str) -> None:
    assert client.post("/v1/webhooks", json={"url": url, "label": "x"}).status_code == 422


def slow(server: Deployment, begin: bytes) -> socket.socket:
    at = urlsplit(server.url)
    connection = socket.create_connection((at.hostname or "", at.port or 0), timeout=60)
    connection.sendall(begin)
    return connection


def rest(connection: socket.socket, drip: bytes = b"") -> bytes:
    """Return what comes until the other side ends it; meanwhile send a byte now and then."""
    said = b""
    connection.settimeout(0.2)
    with connection:
        while True:
            try:
                part = connection.recv(65536)
            except TimeoutError:
                if drip:
                    connection.sendall(drip)
                continue
            except ConnectionError:
                return said
            if not part:
                return said
            said += part


def test_slow_clients_hold_up_nobody_and_are_let_go(server: Deployment, client: httpx.Client) -> None:
    key = f"Authorization: Bearer {server.key}\r\n".encode()
    post = b"POST /v1/forget-requests HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" + key
    begun = {
        "nothing": b"",
        "headers": b"GET /v1/me HTTP/1.1\r\nHost: x\r\nX-A: ",
        "body": post + b"Content-Length: 100\r\n\r\n{",
        "chunked": post + b"Transfer-Encoding: chunked\r\n\r\n",
    }
    held = [(slow(server, text), b"") for text in begun.values() for _ in range(25)]
    held += [(slow(server, begun["headers"]), b"x"), (slow(server, begun["body"]), b" ")]  # dripping does not help
    with ThreadPoolExecutor(len(held)) as pool:
        answers = pool.map(lambda one: rest(*one), held)
        for _ in range(20):
            assert client.get("/v1/me").status_code == 200  # beside a hundred that send nothing more
    assert {status_of(answer) for answer in answers} == {408}


def test_an_upload_that_stops_is_let_go_and_leaves_nothing(
    server: Deployment, client: httpx.Client, cohort: str
) -> None:
    head = f"POST /v1/cohorts/{cohort}/records HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.key}\r\n"
    begin = head.encode() + b"Content-Type: application/octet-stream\r\nContent-Length: 1000\r\n\r\nPK"
    said = rest(slow(server, begin))
    assert status_of(said) == 408
    assert json.loads(said.split(b"\r\n\r\n", 1)[1])["type"] == "/problems/too-slow"


def test_it_is_no_file_server(server: Deployment, client: httpx.Client) -> None:
    for name in ("ledger.db", "keys/master.key", "objects", "%2e%2e%2fledger.db"):
        assert client.get(f"/dashboard/static/{name}").status_code in (401, 404)
    assert Path(server.folder / "data" / "ledger.db").exists()
