"""The stores under test, and a look at what lies in them that does not go through them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import pytest
from support.s3 import S3Server

from ledger.objects import LocalObjectStore, ObjectStore, open_store

PREFIX = "some/prefix/"


@dataclass(frozen=True)
class Kind:
    """A store, all bytes that lie where it stores (path or key to content), and a way to put a stranger there."""

    store: ObjectStore
    raw: Callable[[], dict[str, bytes]]
    put: Callable[[str, bytes], None]


@dataclass(frozen=True)
class Bucket:
    """A bucket, and a client that shares no code with the store."""

    name: str
    client: Any

    def raw(self) -> dict[str, bytes]:
        """Every object by its key, and every part of an unfinished one by `key#number`."""
        found = {}
        for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name):
            for entry in page.get("Contents", ()):
                answer = self.client.get_object(Bucket=self.name, Key=entry["Key"])
                found[entry["Key"]] = answer["Body"].read()
        for upload in self.client.list_multipart_uploads(Bucket=self.name).get("Uploads", ()):
            parts = self.client.list_parts(Bucket=self.name, Key=upload["Key"], UploadId=upload["UploadId"])
            for part in parts.get("Parts", ()):
                found[f"{upload['Key']}#{part['PartNumber']}"] = bytes(part["Size"])
        return found

    def put(self, key: str, content: bytes) -> None:
        """Put an object of another program beside ours."""
        self.client.put_object(Bucket=self.name, Key=PREFIX + key, Body=content)


@pytest.fixture
def bucket(new_bucket: Callable[[], str], s3_server: S3Server) -> Iterator[Bucket]:
    client = s3_server.client()
    yield Bucket(new_bucket(), client)
    client.close()


@pytest.fixture
def s3_kind(bucket: Bucket) -> Kind:
    store = open_store(f"s3://{bucket.name}/{PREFIX}", Path("not used"))
    return Kind(store, bucket.raw, bucket.put)


@pytest.fixture
def local_kind(tmp_path: Path) -> Kind:
    root = tmp_path / "objects"

    def put(name: str, content: bytes) -> None:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)

    def raw() -> dict[str, bytes]:
        return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}

    return Kind(LocalObjectStore(root), raw, put)


@pytest.fixture(params=["local", "s3"])
def kind(request: pytest.FixtureRequest) -> Kind:
    """A store of each kind; the test runs once on each."""
    chosen: Kind = request.getfixturevalue(f"{request.param}_kind")
    return chosen


@pytest.fixture
def refusing_server() -> Iterator[Callable[[str, int], str]]:
    """A function that starts a server which answers everything with this S3 error, and returns its address."""
    servers: list[ThreadingHTTPServer] = []

    def start(code: str, status: int) -> str:
        words = f"<?xml version='1.0'?><Error><Code>{escape(code)}</Code><Message>words of the server</Message></Error>"

        class Refuse(BaseHTTPRequestHandler):
            def answer(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                body = b"" if self.command == "HEAD" else words.encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        for verb in ("GET", "PUT", "POST", "DELETE", "HEAD"):
            setattr(Refuse, f"do_{verb}", Refuse.answer)

        server = ThreadingHTTPServer(("127.0.0.1", 0), Refuse)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
