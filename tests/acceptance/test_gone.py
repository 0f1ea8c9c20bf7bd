"""After `completed`, no file of the data directory holds a forgotten record's bytes, plain or encrypted."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from sqlalchemy import select
from support.deployment import PATIENCE_S, Deployment
from support.world import clock_us, person

from ledger.ledger import Ledger, open_ledger
from ledger.settings import LedgerSettings
from ledger.shards import ShardReader
from ledger.tables import FeatureShard, ModelVersion, Record, RecordShard
from ledger.uploads import feature_context, record_context

pytestmark = pytest.mark.acceptance
PEOPLE = [person(f"person-{i}") for i in range(6)]
FORGOTTEN = PEOPLE[2]
PIECE = 24


def stored_traces(ledger: Ledger) -> dict[str, bytes]:
    """Return what marked records, and the version that knew them, leave on disk."""
    traces: dict[str, bytes] = {}
    with ledger.database.read() as tx:
        for row in tx.session.execute(select(Record).where(Record.request_id.is_not(None))).scalars():
            traces[f"key of record {row.id}"] = row.record_key
            shard = tx.session.get_one(RecordShard, row.shard_id)
            traces[f"record {row.id}"] = ciphertext(ledger, shard.object_name, record_context(row.cohort_id), row.id)
            of_shard = select(FeatureShard).where(FeatureShard.record_shard_id == row.shard_id)
            for feature in tx.session.execute(of_shard).scalars():
                traces[f"features {row.id}"] = ciphertext(
                    ledger, feature.object_name, feature_context(feature.model_id), row.id
                )
        version = tx.session.execute(select(ModelVersion).where(ModelVersion.number == 1)).scalar_one()
        for name in (version.weights_object, version.statistics_object):
            traces[f"object {name}"] = ledger.objects.read(name or "")
    return traces


def ciphertext(ledger: Ledger, name: str, context: bytes, record_id: int) -> bytes:
    reader = ShardReader(ledger.objects, name, ring=ledger.ring, context=context)
    head = reader.head()
    ((_, stored),) = reader.ciphertexts([head.places[record_id]])
    return bytes(stored)


def found_in_files(folder: Path, traces: dict[str, bytes]) -> set[str]:
    """Search every byte of every file for any piece of each trace."""
    found = set()
    files = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    for name, trace in traces.items():
        if any(piece in content for piece in pieces(trace) for content in files):
            found.add(name)
    return found


def pieces(trace: bytes) -> Iterable[bytes]:
    """Beginning, middle and end: a page may have been cut or overwritten in part."""
    last = max(len(trace) - PIECE, 0)
    return {trace[start : start + PIECE] for start in (0, last // 2, last)}


def test_nothing_of_a_forgotten_record_is_left_in_any_file(deploy: Callable[..., Deployment]) -> None:
    deployment = deploy()
    deployment.start_server()
    worker = deployment.start_worker()
    data = deployment.folder / "data"
    plain = {f"record {i}": x.tobytes() for i, x in enumerate(FORGOTTEN.x)}
    names = {
        form: text.encode()
        for form, text in (
            ("raw", FORGOTTEN.name),
            ("record id", f"{FORGOTTEN.name}/0"),
            ("sha256", hashlib.sha256(FORGOTTEN.name.encode()).hexdigest()),
            ("md5", hashlib.md5(FORGOTTEN.name.encode()).hexdigest()),
        )
    }
    with deployment.client() as client:
        model = deployment.train(client, PEOPLE)
        assert not found_in_files(data, plain), "a record lies in a file unencrypted"
        assert not found_in_files(data, names), "an identifier lies in a file"
        worker.terminate()
        worker.wait()
        dying = deployment.start_worker(die_at="purge.begun")  # the records are marked, and everything is still there
        forgotten = client.forget(subjects=[FORGOTTEN.name])["id"]
        assert dying.wait(PATIENCE_S) < 0
        settings = LedgerSettings(data_dir=data)
        ledger = open_ledger(settings, clock=clock_us, random=os.urandom)
        traces = stored_traces(ledger)
        ledger.close()
        assert len(traces) >= 3 * len(FORGOTTEN.y)
        assert found_in_files(data, traces) == set(traces), "the search must find what is there"
        deployment.start_worker()
        client.wait_for_request(forgotten, timeout_s=PATIENCE_S)
        assert client.predict(model, FORGOTTEN.x)["predictions"], "the service answers on"
    assert found_in_files(data, traces) == set()
    assert found_in_files(data, plain) == set()
    assert found_in_files(data, names) == set()


def test_the_search_can_fail(tmp_path: Path) -> None:
    trace = bytes(range(100))
    (tmp_path / "other").write_bytes(b"x" * 1000)
    assert found_in_files(tmp_path, {"t": trace}) == set()
    (tmp_path / "page").write_bytes(b"x" * 500 + trace[-30:] + b"x" * 500)
    assert found_in_files(tmp_path, {"t": trace}) == {"t"}
