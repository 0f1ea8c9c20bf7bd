"""A dry run says what forgetting would do, and changes nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sqlalchemy import update
from support.dry_runs import HOUR_US, PEOPLE, all_jobs, ask, evaluated, everything, predicted, result
from support.world import NewWorld, Person, World, make_deps, person

from ledger import jobs
from ledger.errors import SelectorInvalid
from ledger.tables import Job
from unlearning.errors import ProblemRefused


@pytest.fixture
def world(new_world: NewWorld, database_url: str) -> World:
    return evaluated(new_world(database_url))


@pytest.mark.parametrize(
    "selector",
    [{"names": ["person-1"]}, {"record_ids": ("person-1/0", "person-2/3")}, {"labels": (1,)}, {"everything": True}],
)
def test_nothing_is_changed_and_the_real_request_does_what_was_predicted(
    new_world: NewWorld, database_url: str, selector: dict[str, Any]
) -> None:
    world = evaluated(new_world(database_url))
    names, rest = selector.get("names", []), {k: v for k, v in selector.items() if k != "names"}
    before = everything(world, but=("dry_runs",))
    found = predicted(world, *names, **rest)
    after = everything(world, but=("dry_runs",))
    (own,) = set(after.pop("jobs")) - set(before["jobs"])
    assert "dry_run" in own
    assert after == {name: stored for name, stored in before.items() if name != "jobs"}
    assert [one.result for one in all_jobs(world) if one.kind == jobs.DRY_RUN] == [None]
    (model,) = found["models"]
    assert model["model"] == world.model_id
    assert model["version"] == world.active().number
    assert model["accuracy_before"] == (world.active().measured or {})["accuracy"]
    assert model["evaluated"] == 48
    assert (model["exposure"], model["problem"]) == (None, None)
    assert "without noise" in model["exposure_note"]

    request_id = world.forget(*names, **rest)
    world.work()
    request = world.request(request_id)
    assert (request.records, request.outcome) == (found["records"], found["outcome"])
    assert (world.active().measured or {})["accuracy"] == model["accuracy_after"]
    assert model["records"] == found["records"] > 0


def test_predictions_are_compared_as_they_will_be(world: World) -> None:
    from unlearning.prediction import predict_logits, probabilities
    from unlearning.weights import weights_from_bytes
    from workers import models

    public = models.load_public(world.deps, world.model_id)
    x = np.concatenate([person(f"test-{i}", 6).x for i in range(8)])
    old = predict_logits(public, weights_from_bytes(world.weights()), x)
    found = predicted(world, "person-1", "person-2")["models"][0]
    world.forget("person-1", "person-2")
    world.work()
    new = predict_logits(public, weights_from_bytes(world.weights()), x)
    moved = np.abs(probabilities(new) - probabilities(old))
    # prediction extracts features without padding, so a feature may differ by one step of the grid
    assert found["largest_change"] == pytest.approx(moved.max(), rel=1e-2)
    assert found["mean_change"] == pytest.approx(moved.mean(), rel=1e-2)
    assert found["mean_change"] > 0
    assert found["labels_flipped"] == int((old.argmax(1) != new.argmax(1)).sum())


def test_nobody_and_people_on_hold(world: World) -> None:
    nobody = predicted(world, "stranger")
    assert (nobody["outcome"], nobody["records"], nobody["models"]) == ("no_match", 0, [])
    world.hold("person-1")
    held = predicted(world, "person-1")
    assert (held["outcome"], held["records"], held["held"]) == ("on_hold", 0, 4)
    partly = predicted(world, "person-1", "person-2")
    assert (partly["outcome"], partly["records"], partly["held"]) == ("erased", 4, 4)
    assert partly["models"][0]["records"] == 4
    request = world.request(world.forget("person-1", "person-2"))
    world.work()
    request = world.request(request.id)
    assert (request.outcome, request.records, request.held) == ("erased", 4, 4)


def test_content_that_the_core_holds_too(world: World) -> None:
    public = person("public-0", 5)
    world.upload(Person("copy", public.x[:2], public.y[:2]))
    world.work()
    found = predicted(world, "copy", "person-1")
    assert (found["outcome"], found["records"], found["in_core"]) == ("partially_core", 6, 2)
    request_id = world.forget("copy", "person-1")
    world.work()
    assert world.request(request_id).outcome == "partially_core"


def test_the_ridge_is_chosen_as_it_will_be(new_world: NewWorld) -> None:
    world = evaluated(new_world(), mu=None, mu_grid=(1e-3, 1e-1, 1.0))
    model = predicted(world, "person-0")["models"][0]
    world.forget("person-0")
    world.work()
    assert (world.active().measured or {})["accuracy"] == model["accuracy_after"]


def test_a_model_without_evaluation_records_and_one_without_a_version(new_world: NewWorld) -> None:
    world = new_world()
    world.upload(*PEOPLE)
    world.register()
    world.work()
    world.register("late")  # not trained yet: it has no version to measure
    with world.ledger.database.begin() as tx:
        tx.session.execute(update(Job).where(Job.state == "ready").values(not_before=tx.now + HOUR_US))
    (model,) = predicted(world, "person-0")["models"]
    assert model["model"] == world.model_id
    assert (model["evaluated"], model["records"]) == (0, 4)
    assert (model["accuracy_before"], model["labels_flipped"]) == (None, None)


@pytest.mark.parametrize("changes", [{"solver": "krylov"}, {"feature_map": "tangent-random", "width": 8}])
def test_other_solvers_and_features_per_output(new_world: NewWorld, changes: dict[str, Any]) -> None:
    world = evaluated(new_world(), **changes)
    found = predicted(world, "person-0")["models"][0]
    world.forget("person-0")
    world.work()
    measured = world.active().measured or {}
    assert (found["accuracy_after"], found["records"]) == (measured["accuracy"], 4)


def test_a_solve_that_will_be_refused_is_told(world: World) -> None:
    def refuse(*_: object, **__: object) -> object:
        raise ProblemRefused(1.0, 0.5, "too ill-conditioned")

    job_id = ask(world, "person-0")
    world.work(deps=make_deps(world.ledger, solve=refuse))
    model = (result(world, job_id) or {})["models"][0]
    assert "too ill-conditioned" in model["problem"]
    assert model["accuracy_after"] is None
    assert model["accuracy_before"] is not None


def test_what_a_request_would_refuse_is_refused(world: World) -> None:
    before = everything(world)
    with pytest.raises(SelectorInvalid):
        ask(world)
    assert everything(world) == before
