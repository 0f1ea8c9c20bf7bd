"""A file that is sent in parts to a server that is killed: what was acknowledged is there, and nothing twice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.bodies import ndjson
from support.deployment import PATIENCE_S, Deployment
from support.world import CLASSES, SHAPE

from service import client_uploads
from service.client_errors import ServiceUnreachable

pytestmark = pytest.mark.acceptance
N = 300


def test_an_upload_survives_the_death_of_the_server_between_its_parts(
    deploy: Callable[..., Deployment], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_uploads, "PART", 4000)
    path = tmp_path / "records.ndjson"
    path.write_bytes(ndjson(*({"x": [i / 7] * 6, "y": i % 3, "id": f"r{i}", "subject": "planted"} for i in range(N))))
    deployment = deploy()
    server = deployment.start_server()
    begun: list[str] = []

    def dies(fraction: float, _note: str) -> None:
        if fraction > 0.4:
            server.kill()
            server.wait()

    with deployment.client() as client:
        cohort = client.create_cohort("user", kind="user", shape=SHAPE, dtype="float32", class_names=CLASSES)["id"]
        with pytest.raises(ServiceUnreachable):
            client.upload_file(cohort, path, on_begin=begun.append, on_progress=dies, patience_s=0.1)
    deployment.start_server(with_worker=True)
    for file in (deployment.folder / "data").rglob("*"):
        assert not file.is_file() or b"planted" not in file.read_bytes(), file.name
    reached: list[float] = []
    with deployment.client() as client:
        stored = client.upload_file(
            cohort, path, resume=begun[0], on_progress=lambda fraction, _: reached.append(fraction)
        )
        assert 0.4 < reached[0] < 1
        assert stored["records"] == N
        client.wait_for_job(stored["job"], timeout_s=PATIENCE_S)
        (found,) = client.cohorts()
        assert found["records"] == N
