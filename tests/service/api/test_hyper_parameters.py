"""Registering models that choose their ridge or their feature map, over HTTP."""

from __future__ import annotations

from typing import Any

import pytest
from support.site import Site
from support.waiting import wait_until
from support.world import person

from unlearning.feature_maps import FEATURE_MAPS
from unlearning.gcv import DEFAULT_GRID


def post(site: Site, **settings: Any) -> Any:
    body = {"name": "m", "core_cohort": site.world.core_id, "user_cohorts": [site.world.user_id], "epochs": 1}
    return site.client.post("/v1/models", json=body | settings)


def test_a_ridge_by_cross_validation_is_shown_with_its_candidates(any_site: Site) -> None:
    made = post(any_site, mu="gcv").json()["model"]
    assert (made["mu"], made["mu_grid"], made["residual_budget"]) == ("gcv", list(DEFAULT_GRID), None)
    any_site.world.work()
    shown = any_site.client.get(f"/v1/models/{made['id']}").json()
    assert (shown["mu"], shown["residual_budget"], shown["active_version"]) == ("gcv", None, 1)
    version = any_site.client.get(f"/v1/models/{made['id']}/versions/1").json()
    assert version["measured"]["mu"] == DEFAULT_GRID[-1]  # there are no records
    assert version["checks"]["mu"] == "pass"


def test_a_fixed_ridge_has_no_candidates(site: Site) -> None:
    made = post(site, mu=0.5).json()["model"]
    assert (made["mu"], made["mu_grid"]) == (0.5, None)


@pytest.mark.parametrize("wrong", ["GCV", "auto", 0, -1, None, True])
def test_refuses_other_ridges(site: Site, wrong: object) -> None:
    assert post(site, mu=wrong).status_code == 422


@pytest.mark.parametrize("feature_map", ["auto", "head", "pooled"])
def test_only_nystrom_takes_a_width_or_a_bandwidth(site: Site, feature_map: str) -> None:
    for settings in ({"width": 9}, {"bandwidth": 0.5}):
        answer = post(site, feature_map=feature_map, **settings)
        assert answer.status_code == 422, answer.text
    accepted = post(site, feature_map="nystrom", width=9, bandwidth=0.5)
    assert accepted.json()["model"]["bandwidth"] == 0.5


def test_an_automatic_map_is_replaced_by_the_chosen_one(site: Site) -> None:
    made = post(site, feature_map="auto").json()
    assert made["model"]["feature_map"] == "auto"
    site.world.work()
    shown = site.client.get(f"/v1/models/{made['model']['id']}").json()
    job = site.client.get(f"/v1/jobs/{made['job']}").json()
    assert shown["feature_map"] == job["result"]["chosen"]["feature_map"] != "auto"
    assert shown["width"] > 1


@pytest.mark.parametrize("feature_map", ["tangent", "tangent-random"])
def test_a_tangent_model_is_registered_trained_and_asked(site: Site, feature_map: str) -> None:
    made = post(site, feature_map=feature_map, width=20).json()["model"]
    assert (made["feature_map"], made["width"]) == (feature_map, 20)
    assert post(site, name="other", feature_map=feature_map, bandwidth=1.0).status_code == 422
    site.world.upload(person("ada"))
    site.world.work()
    path, query = f"/v1/models/{made['id']}/predict", {"instances": [[0.0] * 6, [1.0] * 6]}
    wait_until(lambda: site.client.post(path, json=query).status_code == 200, 20, "an answer")
    assert len(site.client.post(path, json=query).json()["predictions"]) == 2
    shown = site.client.get(f"/v1/models/{made['id']}").json()
    assert (shown["feature_map"], shown["width"]) == (feature_map, 20)


def test_the_maps_that_may_be_named_are_the_registered_ones(site: Site) -> None:
    schema = site.client.get("/openapi.json").json()["components"]["schemas"]["NewModel"]["properties"]["feature_map"]
    assert schema["enum"] == [*FEATURE_MAPS, "auto"]
    assert schema["default"] == "pooled"
    for wrong in ("wavelet", "Tangent", "", 3, None):
        refused = post(site, feature_map=wrong)
        assert refused.status_code == 422, wrong
    assert "nystrom" in post(site, feature_map="wavelet").text
