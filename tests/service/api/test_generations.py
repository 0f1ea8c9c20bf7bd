"""Generations over HTTP: a successor beside a model, taking over, going back, and several models over one cohort."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select
from support.site import Site
from support.waiting import wait_until
from support.world import NewWorld, World, make_deps, person

from ledger.tables import FeatureShard, Lease, Model, StoredObject
from unlearning.errors import ProblemRefused
from workers.deps import Deps
from workers.runner import run_next

ADA, BOB, CYD = person("ada"), person("bob"), person("cyd")
CHALLENGE = {"challenge": "00" * 16}


def trained(site: Site, **changes: Any) -> str:
    """Upload, register and work until the first version; return the model's id."""
    site.world.upload(ADA, BOB, CYD)
    model = site.world.register(**changes)
    site.world.work()
    return model


def get(site: Site, path: str, **params: Any) -> Any:
    answer = site.client.get(path, params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


def post(site: Site, path: str, body: Any = None, *, status: int = 202) -> Any:
    answer = site.client.post(path, json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


def predict(site: Site, model: str) -> Any:
    """Return the answer of the model once there is one."""

    def answered() -> Any:
        answer = site.client.post(f"/v1/models/{model}/predict", json={"instances": ADA.x[:1].tolist()})
        assert answer.status_code in (200, 503), answer.text
        return answer.json() if answer.status_code == 200 else None

    return wait_until(answered, 20, "an answer")


def work_until(site: Site, path: str, state: str, deps: Deps | None = None) -> Any:
    """Run the jobs, beside the site's own leases, until what is at `path` is in a state."""

    def reached() -> Any:
        run_next(deps or site.world.deps)
        now = get(site, path)
        return now if now["state"] == state else None

    return wait_until(reached, 30, f"{path} to be {state}")


def forget(site: Site, name: str) -> str:
    return str(post(site, "/v1/forget-requests", {"subjects": [{"value": name}]})["id"])


def bytes_of(site: Site, model: str) -> tuple[bytes, bytes]:
    current = get(site, f"/v1/models/{model}")
    own = next(one["id"] for one in get(site, f"/v1/models/{model}/generations")["items"] if one["current"])
    assert current["id"] == model
    return site.world.statistics(own), site.world.weights(own)


def never_saw(new_world: NewWorld, *people: Any, **changes: Any) -> World:
    """Return a service that saw these people alone."""
    world = new_world()
    world.upload(*people)
    world.register(**changes)
    world.work()
    return world


def test_a_request_waits_for_the_slower_of_two_models_and_names_it(any_site: Site, new_world: NewWorld) -> None:
    site = any_site
    quick = trained(site)
    slow = site.world.register("the slow one", feature_map="nystrom", width=8)
    site.world.work()

    def solve(*arguments: Any, **options: Any) -> Any:
        if arguments[0].cross.shape[0] == width:
            raise ProblemRefused(1.0, 1.0, "ill-conditioned")
        return site.world.deps.solve(*arguments, **options)

    width = get(site, f"/v1/models/{slow}")["width"]
    faulty = make_deps(site.world.ledger, solve=solve)
    request = forget(site, "ada")

    def stuck() -> Any:
        run_next(faulty)
        now = get(site, f"/v1/forget-requests/{request}")
        return now if now["error"] else None

    now = wait_until(stuck, 30, "the request to be stuck")
    site.world.work(deps=faulty)
    now = get(site, f"/v1/forget-requests/{request}")
    assert (now["state"], now["certificate_url"]) == ("scrubbing", None)
    assert now["error"].startswith("model the slow one: ")
    passed = {one["model"]: one["version"] for one in now["models"]}
    assert passed == {quick: 2, slow: None}
    failed = [job for job in get(site, "/v1/jobs")["items"] if job["state"] == "failed"]
    assert {(job["kind"], job["model"]) for job in failed} == {("advance", slow)}
    for job in failed:
        post(site, f"/v1/jobs/{job['id']}/retry", status=200)
    assert get(site, f"/v1/forget-requests/{request}")["error"] is None
    done = work_until(site, f"/v1/forget-requests/{request}", "completed")
    assert {one["model"]: one["version"] for one in done["models"]} == {quick: 2, slow: 2}
    assert all(job["state"] == "done" for job in get(site, "/v1/jobs")["items"])
    names = {one["name"] for one in get(site, done["certificate_url"], decoded=True)["subject"]}
    assert names == {"model@2", "the slow one@2"}
    for model, changes in ((quick, {}), (slow, {"feature_map": "nystrom", "width": 8})):
        other = never_saw(new_world, BOB, CYD, **changes)
        assert (site.world.statistics(model), site.world.weights(model)) == (other.statistics(), other.weights())


NEXT = {"feature_map": "nystrom", "width": 8, "seed": 9}


def test_a_successor_learns_beside_the_model_and_takes_over(any_site: Site, new_world: NewWorld) -> None:
    site = any_site
    model = trained(site)
    made = post(site, f"/v1/models/{model}/successor", NEXT)
    beside = made["model"]["id"]
    assert (made["model"]["generation"], made["model"]["cut_over"], made["model"]["seed"]) == (2, "manual", 9)
    assert post(site, f"/v1/models/{model}/cut-over", status=409)["type"] == "/problems/wrong-state"
    assert post(site, f"/v1/models/{model}/successor", {}, status=409)["type"] == "/problems/wrong-state"
    work_until(site, f"/v1/models/{beside}", "ready")
    site.world.work()
    shown = get(site, f"/v1/models/{model}")
    assert (shown["generation"], shown["successor"], shown["active_version"]) == (1, beside, 1)
    assert get(site, f"/v1/models/{beside}")["active_version"] == 2  # numbers are unique in the line
    assert predict(site, model)["model_version"] == 1
    assert site.client.post(f"/v1/models/{beside}/predict", json={"instances": ADA.x.tolist()}).status_code == 409

    done = work_until(site, f"/v1/forget-requests/{forget(site, 'ada')}", "completed")
    assert len(done["models"]) == 2  # both obeyed
    old, new = never_saw(new_world, BOB, CYD), never_saw(new_world, BOB, CYD, **NEXT)
    assert (site.world.statistics(model), site.world.weights(model)) == (old.statistics(), old.weights())
    assert (site.world.statistics(beside), site.world.weights(beside)) == (new.statistics(), new.weights())
    old_number = get(site, f"/v1/models/{model}")["active_version"]

    taken = post(site, f"/v1/models/{model}/cut-over")
    assert (taken["model"]["id"], taken["model"]["name"], taken["model"]["generation"]) == (model, "model", 2)
    assert taken["model"]["successor"] is None
    work_until(site, f"/v1/jobs/{taken['job']}", "done")
    answer = predict(site, model)
    assert (answer["model"], answer["model_version"]) == (model, taken["model"]["active_version"])
    assert answer["model_version"] != old_number
    assert bytes_of(site, model) == (new.statistics(), new.weights())
    states = [
        (one["number"], one["state"], one["current"]) for one in get(site, f"/v1/models/{model}/generations")["items"]
    ]
    assert states == [(2, "ready", True), (1, "destroyed", False)]
    versions = get(site, f"/v1/models/{model}/versions")["items"]
    assert len({one["number"] for one in versions}) == len(versions) == 4
    assert {one["state"] for one in versions if one["generation"] == 1} == {"destroyed"}
    assert (
        get(site, f"/v1/models/{model}/certificate", generation=1, decoded=True)["predicate"]["model"]["generation"]
        == 1
    )
    (named,) = get(site, "/v1/models")["items"]
    assert (named["id"], named["name"]) == (model, "model")
    gone_for_good(site, alive=beside)


def gone_for_good(site: Site, *, alive: str) -> None:
    """Nothing of the old generation is in any store, and everything that is there belongs to the living one."""
    with site.world.ledger.database.read() as tx:
        features = set(tx.session.execute(select(FeatureShard.model_id)).scalars())
        leases = set(tx.session.execute(select(Lease.model_id)).scalars())
        states = set(tx.session.execute(select(StoredObject.state)).scalars())
        kinds = list(tx.session.execute(select(StoredObject.kind)).scalars())
    assert features == {alive}
    assert leases <= {alive}
    assert states == {"live"}
    assert sorted(set(kinds)) == ["features", "public", "records", "statistics", "weights"]
    assert (kinds.count("public"), kinds.count("statistics"), kinds.count("weights")) == (1, 1, 1)


def test_it_takes_over_by_itself_when_that_was_asked_for(site: Site, new_world: NewWorld) -> None:
    model = trained(site)
    asked = {"mu": 0.05, "cut_over": "when_ready"}
    made = post(site, f"/v1/models/{model}/successor", asked)["model"]
    assert (made["cut_over"], made["feature_map"], made["mu"]) == ("when_ready", "head", 0.05)

    def took_over() -> Any:
        run_next(site.world.deps)
        now = get(site, f"/v1/models/{model}")
        return now if now["generation"] == 2 else None

    now = wait_until(took_over, 30, "the successor to take over")
    assert (now["id"], now["state"], now["cut_over"]) == (model, "ready", None)
    first = lambda: get(site, f"/v1/models/{model}/generations")["items"][1]["state"]  # noqa: E731 (short)
    wait_until(lambda: (run_next(site.world.deps), first() == "destroyed")[1], 30, "the old generation to be destroyed")
    other = never_saw(new_world, ADA, BOB, CYD, mu=0.05)
    assert bytes_of(site, model) == (other.statistics(), other.weights())
    done = work_until(site, f"/v1/forget-requests/{forget(site, 'bob')}", "completed")
    assert len(done["models"]) == 1


def test_a_successor_that_is_behind_may_not_take_over(site: Site) -> None:
    """The current generation has forgotten somebody whom the successor still knows."""
    model = trained(site)
    beside = post(site, f"/v1/models/{model}/successor", NEXT)["model"]["id"]
    site.world.work()
    forget(site, "ada")

    def refuse(*arguments: Any, **options: Any) -> Any:
        if arguments[0].cross.shape[0] == 8:
            raise OSError("away")
        return site.world.deps.solve(*arguments, **options)

    deps = make_deps(site.world.ledger, solve=refuse)
    wait_until(
        lambda: (run_next(deps), get(site, f"/v1/models/{model}")["active_version"] > 2)[1], 30, "the current one"
    )
    answer = post(site, f"/v1/models/{model}/cut-over", status=409)
    assert "not yet folded in" in answer["detail"]

    def followed() -> bool:
        run_next(site.world.deps)
        return get(site, f"/v1/models/{beside}")["active_version"] > 2

    wait_until(followed, 30, "the successor to follow")
    assert post(site, f"/v1/models/{model}/cut-over")["model"]["generation"] == 2


def test_going_back_brings_nobody_back(any_site: Site, new_world: NewWorld) -> None:
    """Generation 3 has the configuration of generation 1 and the records of today."""
    site = any_site
    model = trained(site)
    post(site, f"/v1/models/{model}/successor", NEXT | {"cut_over": "when_ready"})
    wait_until(lambda: (run_next(site.world.deps), get(site, f"/v1/models/{model}")["generation"] == 2)[1], 30, "2")
    work_until(site, f"/v1/forget-requests/{forget(site, 'ada')}", "completed")
    assert site.client.post(f"/v1/models/{model}/rollback", json={"to": 7}).status_code == 404
    back = post(site, f"/v1/models/{model}/rollback", {"to": 1})["model"]
    assert (back["generation"], back["feature_map"], back["seed"]) == (3, "head", 7)
    wait_until(lambda: (run_next(site.world.deps), get(site, f"/v1/models/{model}")["generation"] == 3)[1], 30, "3")
    other = never_saw(new_world, BOB, CYD)
    assert bytes_of(site, model) == (other.statistics(), other.weights())
    assert get(site, f"/v1/models/{model}")["public_digest"] == get_public(other)
    generations = get(site, f"/v1/models/{model}/generations")["items"]
    assert [one["restores"] for one in generations] == [1, None, None]


def get_public(world: World) -> str:
    with world.ledger.database.read() as tx:
        return str(tx.session.get_one(Model, world.model_id).public_digest)


@pytest.mark.parametrize(
    ("body", "changed"),
    [
        ({}, {}),
        ({"feature_map": "pooled"}, {"feature_map": "pooled", "width": None}),
        ({"alpha": 2.0, "epochs": 1}, {"alpha": 2.0, "epochs": 1}),
        ({"mu": "gcv"}, {"mu": "gcv"}),
    ],
)
def test_what_is_left_out_stays_as_it_is(site: Site, body: Any, changed: Any) -> None:
    model = site.world.register(feature_map="nystrom", width=8, mu=0.5, seed=17)
    before = get(site, f"/v1/models/{model}")
    after = post(site, f"/v1/models/{model}/successor", body)["model"]
    same = ("core_cohort", "user_cohorts", "architecture", "feature_map", "width", "alpha", "mu", "capacity", "epochs",
            "seed")  # fmt: skip
    assert {name: after[name] for name in same} == {name: before[name] for name in same} | changed


def test_a_successor_in_the_making_can_be_dropped(site: Site) -> None:
    model = trained(site)
    beside = post(site, f"/v1/models/{model}/successor", NEXT)["model"]["id"]
    dropped = site.client.delete(f"/v1/models/{beside}").json()
    work_until(site, f"/v1/jobs/{dropped['job']}", "done")
    assert get(site, f"/v1/models/{beside}")["state"] == "destroyed"
    assert get(site, f"/v1/models/{model}")["successor"] is None
    assert predict(site, model)["model_version"] == 1
    again = post(site, f"/v1/models/{model}/successor", NEXT)["model"]
    assert again["generation"] == 3
