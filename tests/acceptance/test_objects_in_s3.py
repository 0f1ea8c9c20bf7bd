"""An installation of real processes whose objects lie in a bucket: what is forgotten is gone from there too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from support.deployment import PATIENCE_S, Deployment
from support.s3 import S3Server
from support.world import person

pytestmark = pytest.mark.acceptance
PEOPLE = [person(f"person-{i}") for i in range(6)]
FORGOTTEN = PEOPLE[2]
PIECE = 24


@pytest.fixture
def client(s3_server: S3Server) -> Iterator[Any]:
    with closing(s3_server.client()) as client:
        yield client


def everything_in(client: Any, bucket: str) -> dict[str, bytes]:
    """Return every object of the bucket by its key, in every version that is kept, and unfinished ones as empty."""
    found = {}
    for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket):
        assert not page.get("DeleteMarkers")
        for entry in page.get("Versions", ()):
            found[entry["Key"]] = client.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read()
    unfinished = client.list_multipart_uploads(Bucket=bucket).get("Uploads", ())
    return found | {f"{upload['Key']} (unfinished)": b"" for upload in unfinished}


def rows(deployment: Deployment, query: str) -> set[str]:
    url = deployment.database_url or f"sqlite:///{deployment.folder / 'data' / 'ledger.db'}"
    engine = create_engine(url)
    with engine.connect() as connection:
        found = set(connection.execute(text(query)).scalars())
    engine.dispose()
    return found


HOLDING = (
    "SELECT object_name FROM record_shards WHERE id IN (SELECT shard_id FROM records WHERE request_id IS NOT NULL) "
    "UNION SELECT object_name FROM feature_shards "
    "WHERE record_shard_id IN (SELECT shard_id FROM records WHERE request_id IS NOT NULL) "
    "UNION SELECT weights_object FROM model_versions WHERE number = 1 "
    "UNION SELECT statistics_object FROM model_versions WHERE number = 1"
)


def test_nothing_of_a_forgotten_record_is_left_in_the_bucket(
    deploy: Callable[..., Deployment], new_bucket: Callable[[], str], s3_server: S3Server, client: Any
) -> None:
    bucket = new_bucket()
    deployment = deploy(LACUNA_OBJECTS_URL=f"s3://{bucket}/lacuna", **s3_server.environment)
    deployment.start_server()
    worker = deployment.start_worker()
    with deployment.client() as lacuna:
        model = deployment.train(lacuna, PEOPLE)
        assert not (deployment.folder / "data" / "objects").exists()
        worker.terminate()
        worker.wait()
        dying = deployment.start_worker(die_at="purge.begun")  # the records are marked, and everything is still there
        forgotten = lacuna.forget(subjects=[FORGOTTEN.name])["id"]
        assert dying.wait(PATIENCE_S) < 0
        holding = {f"lacuna/{name}" for name in rows(deployment, HOLDING)}
        before = everything_in(client, bucket)
        assert len(holding) >= 4
        assert holding <= before.keys()
        traces = [before[key][-PIECE:] for key in holding]  # of the last ciphertext and its tag: they never repeat
        assert all(any(trace in content for content in before.values()) for trace in traces)
        deployment.start_worker()
        done = lacuna.wait_for_request(forgotten, timeout_s=PATIENCE_S)
        assert done["state"] == "completed"
        assert lacuna.predict(model, FORGOTTEN.x)["predictions"], "the service answers on"
    after = everything_in(client, bucket)
    assert not holding & after.keys()
    live = {f"lacuna/{name}" for name in rows(deployment, "SELECT name FROM objects WHERE state = 'live'")}
    assert after.keys() == live
    plain = [FORGOTTEN.name.encode(), *(x.tobytes() for x in FORGOTTEN.x)]
    assert not [key for key, content in after.items() if any(trace in content for trace in plain)]
    assert "Another server" in deployment.refused_start(), "the lock of the data directory holds as before"


def test_a_bucket_that_keeps_versions_stops_the_start_and_the_words_keep_the_secret(
    deploy: Callable[..., Deployment], new_bucket: Callable[[], str], s3_server: S3Server, client: Any
) -> None:
    bucket = new_bucket()
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    deployment = deploy(LACUNA_OBJECTS_URL=f"s3://{bucket}", **s3_server.environment)
    said = deployment.refused_start()
    assert "keeps versions" in said
    assert "Traceback" not in said
    assert s3_server.environment["AWS_SECRET_ACCESS_KEY"] not in said
    assert s3_server.environment["AWS_ACCESS_KEY_ID"] not in said
