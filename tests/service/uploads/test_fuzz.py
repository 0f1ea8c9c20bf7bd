"""Spoilt bodies: every reader either refuses or reads, whatever it is given; over HTTP there is never a 5xx."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.bodies import CONTENT_TYPES
from support.mutations import SEEDS, spoilt, task
from support.site import Site, open_site
from support.world import CLASSES, make_world

from ledger import catalog
from service.refusals import UploadRefused
from service.uploads.convert import convert
from service.uploads.formats import Name
from service.uploads.isolated import convert_isolated
from service.uploads.spool import read_chunks

EXAMPLES = int(os.environ.get("LACUNA_FUZZ_EXAMPLES", "150"))
QUIET = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]


def read(kind: Name, body: bytes) -> int | None:
    """Return how many records there are, None when the body is refused."""
    with io.BytesIO(body) as file, io.BytesIO() as spool, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as in the process that decodes
        try:
            count = convert(task(kind), file, spool)
        except UploadRefused:
            return None
        assert sum(len(chunk.y) for chunk in read_chunks(spool, task(kind).wanted)) == count
        return count


@pytest.mark.parametrize("kind", SEEDS)
def test_the_seeds_are_valid(kind: Name) -> None:
    assert all(read(kind, seed) for seed in SEEDS[kind])


@pytest.mark.parametrize("kind", ["npz", "ndjson", "tar", "zip"])
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=QUIET)
@given(data=st.data())
def test_a_reader_refuses_or_reads(kind: Name, data: st.DataObject) -> None:
    read(kind, data.draw(spoilt(kind)))


@settings(max_examples=max(1, EXAMPLES // 15), deadline=None, suppress_health_check=QUIET)
@given(body=spoilt("parquet"))
def test_parquet_is_refused_or_read_in_a_process_of_its_own(body: bytes) -> None:
    with tempfile.TemporaryFile(buffering=0) as file, tempfile.TemporaryFile(buffering=0) as spool:
        file.write(body)
        with contextlib.suppress(UploadRefused):
            assert 0 < convert_isolated(task("parquet"), file, spool) <= 1000


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("shared")
    world = make_world(folder, f"sqlite:///{folder / 'ledger.sqlite'}")
    with open_site(world, folder) as site:
        yield site
    world.ledger.close()


@pytest.mark.parametrize("kind", ["npz", "ndjson"])
@settings(max_examples=max(1, EXAMPLES // 5), deadline=None, suppress_health_check=QUIET)
@given(data=st.data())
def test_http_answers_202_or_a_documented_refusal(shared: Site, kind: Name, data: st.DataObject) -> None:
    with shared.world.ledger.database.begin() as tx:
        form: dict[str, Any] = {"shape": [6], "dtype": "float32", "class_names": CLASSES}
        cohort = catalog.create_cohort(tx, shared.world.tenant_id, name=tx.new_id(), kind="user", **form).id
    before = shared.stored()
    answer = shared.upload(data.draw(spoilt(kind)), cohort, headers={"Content-Type": CONTENT_TYPES[kind]})
    assert answer.status_code in (202, 422), answer.text
    if answer.status_code == 422:
        assert answer.json()["type"] == "/problems/upload-refused"
        assert shared.stored() == before
