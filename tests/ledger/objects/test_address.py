"""Addresses of object stores: which are taken, and that a refusal repeats none of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from ledger.errors import StoreUnsuitable
from ledger.objects import LocalObjectStore, open_store

NAME = "0123456789abcdef" * 2


@pytest.mark.parametrize("url", [None, ""])
def test_without_an_address_objects_lie_in_the_given_folder(url: str | None, tmp_path: Path) -> None:
    open_store(url, tmp_path / "objects").write(NAME, [b"x"])
    assert (tmp_path / "objects" / "01" / "23" / NAME).read_bytes() == b"x"


def test_a_folder_may_be_named(tmp_path: Path) -> None:
    store = open_store(f"file://{tmp_path}/a%20folder", tmp_path / "objects")
    assert isinstance(store, LocalObjectStore)
    store.write(NAME, [b"x"])
    assert (tmp_path / "a folder" / "01" / "23" / NAME).read_bytes() == b"x"
    assert not (tmp_path / "objects").exists()


@pytest.mark.parametrize(
    "url",
    [
        "/srv/objects",
        "file:objects",
        "file:///",
        "file://elsewhere/objects",
        "s3://",
        "s3:///prefix",
        "s3://Bucket_of_ours/prefix",
        "s3://bucket/../other",
        "s3://bucket/a//b",
        "s3://bucket/a?versionId=1",
        "s3://bucket/a#b",
        "s3://identity:topsecret@bucket/prefix",
        "s3://topsecret@bucket",
        "gs://bucket/prefix",
        "az://container",
        "http://127.0.0.1/topsecret",
        "s3://[topsecret",
    ],
)
def test_other_addresses_are_refused_and_not_repeated(url: str, tmp_path: Path) -> None:
    with pytest.raises(StoreUnsuitable) as caught:
        open_store(url, tmp_path / "objects")
    assert "LACUNA_OBJECTS_URL" in str(caught.value)
    assert "topsecret" not in str(caught.value)
    assert "bucket/" not in str(caught.value)
