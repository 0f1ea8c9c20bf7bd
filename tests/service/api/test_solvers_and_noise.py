"""Registering models with a solver and noise over HTTP, and what is answered about them."""

from __future__ import annotations

from typing import Any

import pytest
from support.site import Site
from support.waiting import wait_until
from support.world import person

NOISE = {"noise": "isotropic", "sigma": 0.2, "kappa": 2e-3, "mu": 0.05}


def post(site: Site, name: str = "m", **settings: Any) -> Any:
    body = {"name": name, "core_cohort": site.world.core_id, "user_cohorts": [site.world.user_id], "epochs": 1}
    return site.client.post("/v1/models", json=body | settings)


def refusal(answer: Any) -> str:
    assert answer.status_code == 422, answer.text
    return str(answer.json()["detail"])


def test_a_model_without_noise_says_so(site: Site) -> None:
    made = post(site).json()["model"]
    said = {name: made[name] for name in ("solver", "noise", "sigma", "kappa", "exposure_budget")}
    assert said == {"solver": "exact", "noise": "none", "sigma": None, "kappa": None, "exposure_budget": None}


@pytest.mark.parametrize("solver", ["exact", "krylov", "sgd"])
def test_a_model_with_noise_is_shown_trained_and_certified(any_site: Site, solver: str) -> None:
    world = any_site.world
    world.upload(*(person(f"person-{i}") for i in range(5)))
    made = post(any_site, solver=solver, **NOISE).json()["model"]
    assert {name: made[name] for name in NOISE} == NOISE
    assert (made["solver"], made["exposure_budget"]) == (solver, None)
    world.work()
    shown = any_site.client.get(f"/v1/models/{made['id']}").json()
    assert (shown["sigma"], shown["active_version"]) == (0.2, 1)
    assert shown["residual_budget"] <= 0.05 * 0.2 * (2 * 2e-3) ** 0.5
    subject = {"type": "controller_customer_id", "value": "person-1"}
    accepted = any_site.client.post("/v1/forget-requests", json={"subjects": [subject]})
    assert accepted.status_code == 202, accepted.text
    world.work()
    request = accepted.json()["id"]
    certificate = any_site.client.get(f"/v1/forget-requests/{request}/certificate?decoded=true").json()
    bounds = certificate["predicate"]["bounds"]
    assert str(bounds["output_bound"]["value"]) == ("0" if solver == "exact" else "0.004")
    version = any_site.client.get(f"/v1/models/{made['id']}/versions/2").json()
    assert version["checks"]["bound"]["state_bound"] == str(bounds["state_bound"]["value"])
    assert 0 <= version["measured"]["nats"] <= 2e-3
    question = {"instances": person("person-2").x.tolist()}
    address = f"/v1/models/{made['id']}/predict"
    wait_until(lambda: any_site.client.post(address, json=question).status_code == 200, 20, "a version to be served")
    assert any_site.client.post(address, json=question).json()["model_version"] == 2


def test_kappa_has_a_default_with_noise(site: Site) -> None:
    assert post(site, noise="inverse_hessian").json()["model"]["kappa"] == 1e-3


@pytest.mark.parametrize("solver", ["krylov", "sgd"])
def test_a_solver_that_stops_early_needs_noise(site: Site, solver: str) -> None:
    before = site.stored()
    assert "only noise bounds" in refusal(post(site, solver=solver))
    assert site.stored() == before


@pytest.mark.parametrize("setting", [{"sigma": 0.1}, {"kappa": 1e-3}, {"exposure_budget": 1.0}])
def test_settings_of_noise_need_noise(site: Site, setting: dict[str, float]) -> None:
    assert "the model has none" in refusal(post(site, **setting))


def test_with_noise_the_ridge_must_be_public(site: Site) -> None:
    assert "must be public" in refusal(post(site, noise="isotropic", mu="gcv"))


@pytest.mark.parametrize(
    "wrong", [{"solver": "newton"}, {"noise": "laplace"}, {"noise": "isotropic", "sigma": 0}, {"noise": None},
              {"noise": "isotropic", "kappa": -1}, {"noise": "isotropic", "exposure_budget": 0}],
)  # fmt: skip
def test_refuses_other_values(site: Site, wrong: dict[str, object]) -> None:
    refusal(post(site, **wrong))


def test_sigma_is_planned_from_core_records(any_site: Site) -> None:
    made = post(any_site, noise="isotropic").json()
    assert made["model"]["sigma"] is None
    any_site.world.work()
    job = any_site.client.get(f"/v1/jobs/{made['job']}").json()
    assert job["state"] == "done", job
    shown = any_site.client.get(f"/v1/models/{made['model']['id']}").json()
    planned = job["result"]["noise"]
    assert shown["sigma"] == planned["sigma"] > 0
    assert planned["accuracy"] - planned["noised_accuracy"] <= 0.01 + 1e-9
    assert 0 < planned["exposure_median"] <= planned["exposure_worst"]
    again = post(any_site, "again", noise="isotropic").json()["model"]["id"]
    any_site.world.work()
    assert any_site.client.get(f"/v1/models/{again}").json()["sigma"] == shown["sigma"]


def test_an_exposure_budget_that_accuracy_does_not_allow_is_refused(site: Site) -> None:
    made = post(site, noise="inverse_hessian", exposure_budget=1e-9).json()
    site.world.work()
    job = site.client.get(f"/v1/jobs/{made['job']}").json()
    assert job["state"] == "failed"
    assert "exposure budget" in job["error"]


def test_a_successor_keeps_the_noise_and_plans_sigma_anew_when_it_must(site: Site) -> None:
    model = post(site, solver="krylov", **NOISE).json()["model"]["id"]
    site.world.work()
    kept = site.client.post(f"/v1/models/{model}/successor", json={"capacity": 1000}).json()["model"]
    assert {name: kept[name] for name in ("solver", *NOISE)} == {"solver": "krylov", **NOISE}
    site.client.delete(f"/v1/models/{kept['id']}")
    site.world.work()
    changed = site.client.post(f"/v1/models/{model}/successor", json={"mu": 0.3}).json()["model"]
    assert (changed["noise"], changed["sigma"], changed["kappa"]) == ("isotropic", None, 2e-3)
    site.client.delete(f"/v1/models/{changed['id']}")
    site.world.work()
    assert "only noise bounds" in refusal(site.client.post(f"/v1/models/{model}/successor", json={"noise": "none"}))
    plain = site.client.post(f"/v1/models/{model}/successor", json={"noise": "none", "solver": "exact"}).json()["model"]
    assert (plain["solver"], plain["noise"], plain["kappa"]) == ("exact", "none", None)
