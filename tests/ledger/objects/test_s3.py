"""Objects in a bucket: versions are refused, unfinished parts go, and errors say no more than they must."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.ports import free_port

from ledger.errors import ObjectMissing, StoreFailed, StoreFull, StoreReadOnly, StoreUnsuitable
from ledger.objects import ObjectStore, open_store

NAME = "0123456789abcdef" * 2


def opened(bucket: str) -> ObjectStore:
    return open_store(f"s3://{bucket}/some/prefix", Path("not used"))


def keep_versions(bucket: Any, state: str) -> None:
    bucket.client.put_bucket_versioning(Bucket=bucket.name, VersioningConfiguration={"Status": state})


@pytest.mark.parametrize("states", [["Enabled"], ["Enabled", "Suspended"]])
def test_a_bucket_that_keeps_versions_is_refused_at_the_start(bucket: Any, states: list[str]) -> None:
    for state in states:
        keep_versions(bucket, state)
    with pytest.raises(StoreUnsuitable, match="keeps versions"):
        opened(bucket.name).verify()
    with pytest.raises(StoreUnsuitable, match="keeps versions"):  # also where nobody has called `verify`
        opened(bucket.name).write(NAME, [b"x"])
    assert bucket.raw() == {}


def test_a_bucket_that_begins_to_keep_versions_is_noticed_by_writing_and_deleting(bucket: Any) -> None:
    store = opened(bucket.name)
    store.write(NAME, [b"old"])
    keep_versions(bucket, "Enabled")
    with pytest.raises(StoreUnsuitable, match="keeps versions"):
        store.write("f" * 32, [b"new"])
    with pytest.raises(StoreUnsuitable, match="keeps versions"):
        store.delete(NAME)
    versions = bucket.client.list_object_versions(Bucket=bucket.name)["Versions"]
    assert [entry["Key"] for entry in versions] == [f"some/prefix/{NAME}"]  # what was refused was taken back


KILLED = """
import os, signal, sys
from pathlib import Path
from ledger.objects import open_store
def source():
    for _ in range(5):
        yield bytes(8 * 2**20)
    os.kill(os.getpid(), signal.SIGKILL)
open_store(sys.argv[1], Path()).write(sys.argv[2], source())
"""


def test_deleting_takes_along_what_a_killed_writer_left(bucket: Any) -> None:
    command = [sys.executable, "-c", KILLED, f"s3://{bucket.name}/some/prefix", NAME]
    ended = subprocess.run(command, check=False, timeout=60)
    assert ended.returncode == -signal.SIGKILL
    assert len(bucket.raw()) == 2  # parts of 16 MiB that nobody sees, and that somebody pays for
    store = opened(bucket.name)
    assert list(store.names()) == []
    store.delete("f" * 32)
    assert len(bucket.raw()) == 2
    store.delete(NAME)
    assert bucket.raw() == {}


def test_many_names_come_in_several_pages(bucket: Any) -> None:
    names = [f"{k:032x}" for k in range(1_005)]
    for name in names:
        bucket.put(name, b"")
    assert list(opened(bucket.name).names()) == names


def test_installations_share_a_bucket_by_their_prefixes(bucket: Any) -> None:
    mine, theirs = opened(bucket.name), open_store(f"s3://{bucket.name}/some/prefix2", Path())
    mine.write(NAME, [b"mine"])
    assert list(theirs.names()) == []
    theirs.delete(NAME)
    assert mine.read(NAME) == b"mine"
    with pytest.raises(ObjectMissing):
        theirs.read(NAME)


def uses(store: ObjectStore) -> list[Callable[[], object]]:
    return [
        store.verify,
        lambda: store.exists(NAME),
        lambda: store.read(NAME),
        lambda: store.read_range(NAME, 0, 4),
        lambda: store.size(NAME),
        lambda: store.delete(NAME),
        lambda: store.write(NAME, [b"x"]),
        lambda: list(store.names()),
    ]


def test_not_knowing_is_not_absence(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    missing, gone = opened(bucket.name + "-not"), opened(bucket.name)
    gone.verify()
    bucket.client.delete_bucket(Bucket=bucket.name)
    for use in (*uses(missing), *uses(gone)[1:]):
        with pytest.raises(StoreFailed, match="NoSuchBucket"):
            use()
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{free_port()}")
    away = opened(bucket.name)
    with pytest.raises(StoreFailed, match="EndpointConnectionError"):
        away.exists(NAME)


@pytest.mark.parametrize(
    ("code", "status", "fact"),
    [
        ("AccessDenied", 403, StoreReadOnly),
        ("QuotaExceeded", 403, StoreFull),
        ("XMinioStorageFull", 507, StoreFull),
        ("InvalidAccessKeyId", 403, StoreFailed),
        ("Something<script>", 400, StoreFailed),
    ],
)
def test_what_the_server_answers_becomes_a_fact_and_its_words_stay_behind(
    bucket: Any, monkeypatch: pytest.MonkeyPatch, refusing_server: Any, code: str, status: int, fact: type[StoreFailed]
) -> None:
    store = opened(bucket.name)
    store.verify()
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", refusing_server(code, status))
    refused = opened(bucket.name)
    for use in uses(refused):
        with pytest.raises(fact) as caught:
            use()
        assert type(caught.value) is fact
        for secret in ("lacuna-test-id", "lacuna-test-secret", "words of the server", bucket.name, "script"):
            assert secret not in str(caught.value)


def test_no_credentials_are_a_fact_and_none_reach_a_traceback(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    opened(bucket.name).verify()
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(StoreFailed) as caught:
        opened(bucket.name).verify()
    said = "".join(traceback.format_exception(caught.value))
    assert "lacuna-test-secret" not in said
    assert "lacuna-test-id" not in said
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("HOME", "/nonexistent")
    with pytest.raises(StoreFailed, match="NoCredentialsError"):
        opened(bucket.name).verify()


def test_credentials_come_from_a_file_too(
    bucket: Any, s3_kind: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "credentials"
    file.write_text("[default]\naws_access_key_id = lacuna-test-id\naws_secret_access_key = lacuna-test-secret\n")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    s3_kind.store.write(NAME, [b"x"])
    assert s3_kind.store.read(NAME) == b"x"
    assert os.environ.get("AWS_ACCESS_KEY_ID") is None
