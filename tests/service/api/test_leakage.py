"""What keys see is noted before they see it, metered, and held to budgets, over HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError
from support.site import Site
from support.waiting import wait_until
from support.world import person

from ledger import sightings
from ledger.database import Transaction
from ledger.sightings import Place
from ledger.tables import Sighting
from service.context import Context
from service.serving import inference, meter
from service.serving.model import ServedModel
from service.serving.passes import Query

ADA = person("ada")


def serve(site: Site) -> Site:
    """Have the site's model answer from a version with ada and bob."""
    site.world.upload(ADA, person("bob"))
    site.world.register()
    site.world.work()
    wait_until(lambda: site.client.get("/v2/models/model/ready").status_code == 200, 20, "version 1 to be served")
    return site


def context(site: Site) -> Context:
    found: Context = site.client.app.state.context  # type: ignore[attr-defined]  # the application under test
    return found


def make(site: Site, **body: Any) -> dict[str, Any]:
    made: dict[str, Any] = site.client.post("/v1/keys", json={"label": "k", "scopes": ["predict"], **body}).json()
    return made


def ask(site: Site, key: dict[str, Any]) -> Any:
    path, headers = f"/v1/models/{site.world.model_id}/predict", {"Authorization": f"Bearer {key['key']}"}
    return site.client.post(path, json={"instances": ADA.x.tolist()}, headers=headers)


def forget_ada(site: Site) -> str:
    request_id = site.world.forget("ada")
    site.world.work()
    wait_until(lambda: site.client.get("/v2/models/model").json()["versions"] == ["2"], 20, "version 2 to be served")
    return request_id


def rows(site: Site) -> dict[tuple[str, int], Sighting]:
    with site.world.ledger.database.read() as tx:
        return {(row.key_id, row.number): row for row in tx.session.execute(select(Sighting)).scalars()}


def budget(site: Site, key: dict[str, Any], **body: Any) -> dict[str, Any]:
    path = f"/v1/keys/{key['id']}/budgets/{site.world.model_id}"
    answer = site.client.put(path, json=body)
    assert answer.status_code == 200, answer.text
    said: dict[str, Any] = answer.json()
    assert site.client.get(path).json() == said
    return said


def test_keys_are_answered_as_they_may_be(site: Site) -> None:
    serve(site)
    full, rounded, label = (make(site, outputs=mode) for mode in ("probabilities", "rounded", "label"))
    said = ask(site, full).json()
    assert said["outputs"] == "probabilities"
    assert "digits" not in said
    fewer = ask(site, rounded).json()
    assert (fewer["outputs"], fewer["digits"]) == ("rounded", 2)
    for whole, short in zip(said["predictions"], fewer["predictions"], strict=True):
        assert short["probabilities"] == np.round(whole["probabilities"], 2).tolist() != whole["probabilities"]
    least = ask(site, label).json()
    assert least["outputs"] == "label"
    assert least["predictions"] == [{"label": p["label"], "class_name": p["class_name"]} for p in said["predictions"]]
    changed = site.client.patch(f"/v1/keys/{full['id']}", json={"outputs": "rounded", "digits": 1})
    assert (changed.json()["outputs"], changed.json()["digits"]) == ("rounded", 1)
    assert ask(site, full).json()["digits"] == 1
    new = site.client.post(f"/v1/keys/{full['id']}/rotate", json={}).json()
    assert (new["outputs"], new["digits"], new["client"]) == ("rounded", 1, full["id"])
    for wrong in ({"outputs": "all"}, {"outputs": "label", "digits": 2}, {"outputs": "rounded", "digits": 7}, {}):
        assert site.client.patch(f"/v1/keys/{label['id']}", json=wrong).status_code == 422
    assert ask(site, label).json() == least
    site.client.delete(f"/v1/keys/{label['id']}")
    assert ask(site, label).status_code == 401, "from the next request on, although it was recognised a moment ago"


def test_what_is_seen_is_metered_for_who_saw_it(any_site: Site) -> None:
    site = serve(any_site)
    both, late, fresh = (make(site) for _ in range(3))
    mine = {"Authorization": f"Bearer {both['key']}"}
    model = site.world.model_id
    assert site.client.get("/v1/keys/self/leakage", headers=mine).json() == {"items": []}
    (before,) = site.client.get(f"/v1/keys/self/leakage?model={model}", headers=mine).json()["items"]
    assert (before["nats"], before["versions"]) == (0.0, [])
    for _ in range(3):
        assert ask(site, both).status_code == 200
    request_id = forget_ada(site)
    told = site.client.get("/v1/keys/self/leakage", headers=mine).json()["items"]
    assert [one["nats"] for one in told] == [0.0], "no version without her was seen yet"
    assert ask(site, both).status_code == ask(site, late).status_code == 200
    (told,) = site.client.get("/v1/keys/self/leakage", headers=mine).json()["items"]
    assert (told["nats"], told["differencing"], told["bound"], told["pairs"]) == (None, None, 0.0, 1)
    assert told["versions"] == [1, 2]
    assert "request" not in told
    listed = {one["client"]: one for one in site.client.get(f"/v1/models/{model}/leakage").json()["items"]}
    assert {key: one["nats"] for key, one in listed.items()} == {both["id"]: None, late["id"]: 0.0}
    assert listed[both["id"]] == told | {"request": request_id}
    context(site).housekeeping.tidy()
    seen = rows(site)
    assert {key: row.queries for key, row in seen.items()} == {
        (both["id"], 1): 3,
        (both["id"], 2): 1,
        (late["id"], 2): 1,
    }
    (recipient,) = site.client.get(f"/v1/forget-requests/{request_id}/recipients").json()["items"]
    assert (recipient["key"], recipient["label"], recipient["model"]) == (both["id"], "k", model)
    assert (recipient["first_version"], recipient["last_version"], recipient["queries"]) == (1, 1, 3)
    other = {"Authorization": f"Bearer {site.key('admin', tenant_id=site.other_tenant())}"}
    for path in (
        f"models/{model}/leakage",
        f"forget-requests/{request_id}/recipients",
        f"keys/{fresh['id']}/budgets/{model}",
    ):
        assert site.client.get(f"/v1/{path}", headers=other).status_code == 404


def test_budgets_warn_coarsen_and_refuse_before_the_answer(site: Site) -> None:
    serve(site)
    warned, coarse, refused, free = keys = [make(site) for _ in range(4)]
    for key, then in ((warned, "warn"), (coarse, "coarsen"), (refused, "refuse")):
        assert budget(site, key, nats=3.0, then=then)["spent"] is False
    for key in keys:
        answer = ask(site, key)
        assert answer.status_code == 200
        assert "x-leakage-budget" not in answer.headers
        assert "leakage_budget" not in answer.json()
    forget_ada(site)
    answer = ask(site, warned)
    assert (answer.headers["x-leakage-budget"], answer.json()["leakage_budget"]) == ("spent", "spent")
    assert "probabilities" in answer.json()["predictions"][0]
    answer = ask(site, coarse)
    assert answer.headers["x-leakage-budget"] == "spent"
    assert (answer.json()["outputs"], list(answer.json()["predictions"][0])) == ("label", ["label", "class_name"])
    answer = ask(site, refused)
    assert (answer.status_code, answer.json()["type"]) == (403, "/problems/leakage-spent")
    body = {"inputs": [{"name": "x", "shape": [1, 6], "datatype": "FP32", "data": [0] * 6}]}
    headers = {"Authorization": f"Bearer {refused['key']}"}
    assert site.client.post("/v2/models/model/infer", json=body, headers=headers).status_code == 403
    assert (refused["id"], 2) not in rows(site), "what is refused was not seen"
    assert "x-leakage-budget" not in ask(site, free).headers
    path = f"/v1/keys/{refused['id']}/budgets/{site.world.model_id}"
    rotated = site.client.post(f"/v1/keys/{refused['id']}/rotate", json={}).json()
    assert ask(site, rotated).status_code == 403, "the new key is the same client"
    assert site.client.delete(path).status_code == 204
    assert ask(site, rotated).status_code == 200
    for wrong in ({"nats": -1, "then": "warn"}, {"nats": 1, "then": "laugh"}, {"nats": 1}):
        assert site.client.put(path, json=wrong).status_code == 422


def test_nothing_is_answered_that_was_not_noted(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    serve(site)
    noted, key = [], make(site)
    compute = inference.compute

    def looking(model: ServedModel, queries: Sequence[Query]) -> None:
        noted.append(list(rows(site)))
        compute(model, queries)

    monkeypatch.setattr(inference, "compute", looking)
    assert ask(site, key).status_code == 200
    assert noted == [[(key["id"], 1)]]

    def away(_tx: Transaction, _tenant_id: str, _place: Place) -> None:
        raise OperationalError("INSERT", {}, Exception("no answer"))

    monkeypatch.setattr(sightings, "note", away)
    other = make(site)
    assert ask(site, other).status_code == 503
    assert len(noted) == 1
    assert ask(site, key).status_code == 200, "it is known already that this key has seen this version"


def test_a_judgement_grows_old_beside_the_queries(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A budget that another process sets is heeded, and a silent database keeps no query waiting."""
    serve(site)
    judged, key = [], make(site)
    judge = meter.judge
    monkeypatch.setattr(meter, "judge", lambda *about: (judged.append(1), judge(*about))[1])
    clock = [0]
    monkeypatch.setattr(context(site).meter, "_monotonic_ns", lambda: clock[0])
    for _ in range(3):
        assert ask(site, key).status_code == 200
    assert len(judged) == 1
    clock[0] += meter.FRESH_NS
    assert ask(site, key).status_code == 200
    wait_until(lambda: len(judged) == 2, 20, "the judgement to be made anew")

    def away(*_: object) -> None:
        raise OperationalError("SELECT", {}, Exception("no answer"))

    monkeypatch.setattr(meter, "judge", away)
    clock[0] += meter.FRESH_NS
    assert ask(site, key).status_code == 200
    clock[0] += meter.STALE_NS
    assert ask(site, key).status_code == 503


def test_counts_that_could_not_be_written_are_kept(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    serve(site)
    key = make(site)
    ask(site, key)
    add = sightings.add

    def away(*_: object) -> None:
        raise OperationalError("UPDATE", {}, Exception("no answer"))

    monkeypatch.setattr(sightings, "add", away)
    with pytest.raises(OperationalError):
        context(site).meter.flush(site.world.ledger.database)
    ask(site, key)
    monkeypatch.setattr(sightings, "add", add)
    context(site).meter.flush(site.world.ledger.database)
    assert rows(site)[(key["id"], 1)].queries == 2
