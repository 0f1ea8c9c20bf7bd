"""PostgreSQL goes away, or falls silent, under a running server: clients are told 503, and nothing hangs."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import httpx
import pytest
from sqlalchemy import make_url
from support.deployment import PATIENCE_S, Deployment
from support.proxy import Proxy
from support.waiting import wait_until
from support.world import person

pytestmark = pytest.mark.acceptance
LONGEST_ANSWER_S = 20.0


@pytest.fixture
def proxy(fresh_postgres_database: str) -> Iterator[Proxy]:
    port = make_url(fresh_postgres_database).port
    assert port is not None
    made = Proxy(port)
    yield made
    made.speak()
    made.take_away()


def test_a_database_that_is_away_is_503_and_then_it_is_found_again(
    deploy: Callable[..., Deployment], fresh_postgres_database: str, proxy: Proxy
) -> None:
    url = make_url(fresh_postgres_database).set(port=proxy.port).render_as_string(hide_password=False)
    deployment = deploy(url)
    deployment.upgrade()
    deployment.start_server()
    headers = {"Authorization": f"Bearer {deployment.key}"}
    body = {"subjects": [{"value": "somebody"}]}
    with httpx.Client(base_url=deployment.url, headers=headers, timeout=LONGEST_ANSWER_S, trust_env=False) as client:
        assert client.post("/v1/forget-requests", json=body).status_code == 202
        proxy.take_away()
        for _ in range(40):  # more than there are connections and threads
            refused = client.post("/v1/forget-requests", json=body)
            assert (refused.status_code, refused.json()["type"]) == (503, "/problems/unavailable")
            assert int(refused.headers["Retry-After"]) >= 1
        assert client.get("/readyz").status_code == 503
        assert client.get("/healthz").status_code == 200
        proxy.give_back()
        wait_until(lambda: client.post("/v1/forget-requests", json=body).status_code == 202, PATIENCE_S, "a 202")
        accepted = client.get("/v1/forget-requests").json()["items"]
    assert len(accepted) == 2, "what was refused was not stored"


def test_a_silent_database_is_503_and_predictions_go_on_until_the_lease_ends(
    deploy: Callable[..., Deployment], fresh_postgres_database: str, proxy: Proxy
) -> None:
    """It accepts connections and bytes and answers nothing, as a stopped process or a hanging disk makes it do."""
    url = make_url(fresh_postgres_database).set(port=proxy.port).render_as_string(hide_password=False)
    deployment = deploy(url, LACUNA_LEASE_TTL_MS="6000")
    deployment.upgrade()
    deployment.start_server()
    worker = deployment.start_worker()
    people = [person(f"person-{i}") for i in range(4)]
    with deployment.client() as trained:
        model = deployment.train(trained, people)
    worker.terminate()
    worker.wait()
    headers = {"Authorization": f"Bearer {deployment.key}"}
    body = {"subjects": [{"value": "person-1"}]}
    query = {"instances": people[0].x[:1].tolist()}
    with httpx.Client(base_url=deployment.url, headers=headers, timeout=LONGEST_ANSWER_S, trust_env=False) as client:

        def predicted() -> int:
            answer = client.post(f"/v1/models/{model}/predict", json=query)
            assert answer.status_code == 200 or int(answer.headers["Retry-After"]) >= 1
            return answer.status_code

        assert predicted() == 200
        proxy.fall_silent()
        assert [predicted() for _ in range(5)] == [200] * 5, "the lease still holds"
        assert client.get("/healthz").status_code == 200
        for _ in range(40):  # more than there are connections and threads
            refused = client.post("/v1/forget-requests", json=body)
            assert (refused.status_code, refused.json()["type"]) == (503, "/problems/unavailable")
            assert int(refused.headers["Retry-After"]) >= 1
        assert client.get("/readyz").status_code == 503
        wait_until(lambda: predicted() == 503, PATIENCE_S, "the lease to end")
        assert {predicted() for _ in range(5)} == {503}
        proxy.speak()
        wait_until(lambda: client.post("/v1/forget-requests", json=body).status_code == 202, PATIENCE_S, "a 202")
        wait_until(lambda: predicted() == 200, PATIENCE_S, "a new lease")
        assert client.get("/readyz").status_code == 200
        accepted = client.get("/v1/forget-requests").json()["items"]
    assert len(accepted) == 1, "what was refused was not stored"
