"""Importing a core over HTTP: from the file to a certificate that says where the core came from."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save
from support.site import Site, npz, open_site
from support.waiting import wait_until
from support.world import NewWorld, make_world, person
from torch import nn

from ledger import core_imports, inventory
from ledger.tables import CoreImport, Model, StoredObject
from unlearning.architectures import BUILT_IN, build_network, read_allow_list
from unlearning.errors import UnknownArchitecture
from workers import models

OCTETS = {"Content-Type": "application/octet-stream"}
ROLE = "data protection officer"
SAID = {"architecture": "mlp", "classes": 3, "shape": "6", "attested_by": ROLE}
ALLOWED = "tiny=operators_nets:tiny,wrong=operators_nets:wrong"


def mlp(classes: int = 3) -> bytes:
    return save(build_network("mlp", (6,), classes, torch.Generator().manual_seed(1)).state_dict())


def tiny(shape: tuple[int, ...], classes: int) -> nn.Module:
    return nn.Sequential(nn.Linear(shape[0], 9), nn.ReLU(), nn.Linear(9, classes))


def wrong(shape: tuple[int, ...], classes: int) -> nn.Module:
    return nn.Sequential(nn.Linear(shape[0], classes + 1))


@pytest.fixture(autouse=True)
def operators_nets(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("operators_nets")
    module.tiny, module.wrong = tiny, wrong  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "operators_nets", module)


@pytest.fixture
def open_to_own(new_world: NewWorld, tmp_path: Path) -> Iterator[Site]:
    """A site and a worker whose operator allows two networks of their own."""
    world = new_world()
    world.deps = dataclasses.replace(world.deps, architectures=read_allow_list(ALLOWED))
    with open_site(world, tmp_path, architectures=ALLOWED) as site:
        yield site


def send(site: Site, data: bytes, **changes: Any) -> Any:
    return site.client.post("/v1/core-imports", params={**SAID, **changes}, content=data, headers=OCTETS)


def register(site: Site, **body: Any) -> Any:
    cohorts = {"core_cohort": site.world.core_id, "user_cohorts": [site.world.user_id]}
    return site.client.post("/v1/models", json={"name": "imported", "feature_map": "head", **cohorts, **body})


def certificate(site: Site, request_id: str) -> dict[str, Any]:
    envelope = site.client.get(f"/v1/forget-requests/{request_id}/certificate").json()
    statement = json.loads(base64.b64decode(envelope["payload"]))
    facts: dict[str, Any] = statement["predicate"]["models"][0]
    return facts


@pytest.mark.parametrize("head", ["keep", "retrain"])
def test_from_the_file_to_the_certificate(site: Site, head: str) -> None:
    data = mlp(3 if head == "keep" else 8)
    answer = send(site, data, classes=3 if head == "keep" else 8)
    assert answer.status_code == 201, answer.text
    core = answer.json()
    assert core["digest"] == hashlib.sha256(data).hexdigest()
    assert (core["architecture"], core["attested_by"], core["shape"]) == ("mlp", ROLE, [6])
    outputs = core["classes"]
    assert core["parameters"] == 6 * 128 + 128 + 128 * 128 + 128 + 4 * 128 + 128 * outputs + outputs
    assert site.client.get(answer.headers["location"]).json() == core
    assert site.client.get("/v1/core-imports").json()["items"] == [core]
    world = site.world
    world.upload(person("ada"), person("bob"))
    registered = register(site, core_import=core["id"], head=head)
    assert registered.status_code == 202, registered.text
    world.work()
    model_id = registered.json()["model"]["id"]
    shown = site.client.get(f"/v1/models/{model_id}").json()
    assert (shown["state"], shown["core_import"], shown["head"]) == ("ready", core["id"], head)
    path = f"/v1/models/{model_id}/predict"
    wait_until(
        lambda: site.client.post(path, json={"instances": person("ada").x.tolist()}).status_code == 200, 20, "a version"
    )
    public = models.load_public(world.deps, model_id)
    state = build_network("mlp", (6,), outputs, torch.Generator().manual_seed(1)).state_dict()
    found = public.network.state_dict()
    kept = [name for name in state if head == "keep" or not name.startswith("output.")]
    assert all(found[name].equal(state[name]) for name in kept)
    assert (public.classes, public.architecture) == (3, "mlp")
    request_id = world.forget("ada")
    world.work()
    facts = certificate(site, request_id)
    assert facts["core_origin"] == "imported"
    assert facts["core_publicness"] == f"publicness attested by {ROLE}, not verified"
    assert (facts["core_digest"], facts["core_head"]) == (core["digest"], head)


def test_a_trained_core_is_certified_as_trained(site: Site) -> None:
    site.world.upload(person("ada"), person("bob"))
    assert register(site, epochs=1).status_code == 202
    site.world.work()
    request_id = site.world.forget("ada")
    site.world.work()
    facts = certificate(site, request_id)
    assert facts["core_origin"] == "trained"
    assert "core_publicness" not in facts


def test_an_operators_network_is_imported_and_trained(open_to_own: Site) -> None:
    site = open_to_own
    torch.manual_seed(0)
    data = save(tiny((6,), 3).state_dict())
    core = send(site, data, architecture="tiny", leaky=True, mean="0,0,0,0,0,0", deviation="1,1,1,1,1,2.5")
    assert core.status_code == 201, core.text
    site.world.upload(person("ada"), person("bob"))
    for number, body in enumerate(({"core_import": core.json()["id"]}, {"architecture": "tiny", "epochs": 1})):
        answer = register(site, name=f"own {number}", **body)
        assert answer.status_code == 202, answer.text
        site.world.work()
        model_id = answer.json()["model"]["id"]
        assert site.client.get(f"/v1/models/{model_id}").json()["state"] == "ready"
        public = models.load_public(site.world.deps, model_id)
        assert public.leaky is (number == 0)
        if number == 0:
            assert public.input_spec.deviation[5] == 2.5
        with pytest.raises(UnknownArchitecture):  # the operator takes it off the list
            models.load_public(dataclasses.replace(site.world.deps, architectures=BUILT_IN), model_id)
    refused = register(site, name="wrong", architecture="wrong")
    assert (refused.status_code, refused.json()["type"]) == (422, "/problems/architecture-refused")
    assert send(site, data, architecture="wrong").status_code == 422


def test_images_are_brought_to_the_size_of_the_import(site: Site) -> None:
    data = save(build_network("all-cnn", (1, 8, 8), 2, torch.Generator().manual_seed(1)).state_dict())
    core = send(site, data, architecture="all-cnn", classes=2, shape="1,8,8").json()
    made = {"shape": [12, 10, 1], "dtype": "uint8", "class_names": ["a", "b"], "layout": "channels_last"}
    cohorts = [
        site.client.post("/v1/cohorts", json={"name": kind + "s", "kind": kind, **made}).json()["id"]
        for kind in ("core", "user")
    ]
    x = np.random.default_rng(0).integers(0, 256, (12, 12, 10, 1)).astype(np.uint8)
    for cohort in cohorts:
        assert site.upload(npz(x=x, y=np.arange(12) % 2), cohort).status_code == 202
    body = {"name": "images", "core_cohort": cohorts[0], "user_cohorts": cohorts[1:], "core_import": core["id"]}
    answer = site.client.post("/v1/models", json=body)
    assert answer.status_code == 202, answer.text
    assert answer.json()["model"]["input_size"] == [8, 8]
    site.world.work()
    model_id = answer.json()["model"]["id"]
    assert site.client.get(f"/v1/models/{model_id}").json()["state"] == "ready"
    spec = models.load_public(site.world.deps, model_id).input_spec
    assert (spec.layout, spec.size, spec.input_shape) == ("channels_last", (8, 8), (1, 8, 8))
    for change in ({"input_size": [9, 9]}, {"architecture": "mlp"}, {"leaky": True}):
        refused = site.client.post("/v1/models", json={**body, "name": "other", **change})
        assert (refused.status_code, refused.json()["type"]) == (422, "/problems/plan-refused"), change


def test_missing_values_are_uploaded_and_predicted(site: Site) -> None:
    made = {"shape": [2], "dtype": "float32", "class_names": ["a", "b"], "missing": "core_mean"}
    made["column_names"] = ["age", "weight"]
    cohorts = [
        site.client.post("/v1/cohorts", json={"name": kind + "s", "kind": kind, **made}).json()["id"]
        for kind in ("core", "user")
    ]
    x = np.random.default_rng(0).normal(size=(20, 2)).astype(np.float32)
    x[3, 1] = np.nan
    for cohort in cohorts:
        assert site.upload(npz(x=x, y=np.arange(20) % 2), cohort).status_code == 202
    infinite = site.upload(npz(x=np.full((1, 2), np.inf, np.float32), y=np.array([0])), cohorts[1])
    assert infinite.status_code == 422
    body = {"name": "table", "core_cohort": cohorts[0], "user_cohorts": cohorts[1:], "epochs": 1, "feature_map": "head"}
    model_id = site.client.post("/v1/models", json=body).json()["model"]["id"]
    site.world.work()
    path = f"/v1/models/{model_id}/predict"
    wait_until(lambda: site.client.post(path, json={"instances": [[0, 0]]}).status_code == 200, 20, "a version")
    mean = models.load_public(site.world.deps, model_id).input_spec.mean[1]
    absent, at_mean = (
        site.client.post(path, json={"instances": [[1.5, value]]}).json()["predictions"] for value in (None, mean)
    )
    assert absent[0]["probabilities"] == pytest.approx(at_mean[0]["probabilities"], abs=1e-4)
    for odd in ("text", True, []):
        assert site.client.post(path, json={"instances": [[None, odd]]}).status_code == 422
    other = {**made, "name": "swapped", "kind": "user", "column_names": ["weight", "age"]}
    swapped = site.client.post("/v1/cohorts", json=other).json()["id"]
    mixed = site.client.post("/v1/models", json={**body, "name": "mixed", "user_cohorts": [swapped]})
    assert (mixed.status_code, mixed.json()["type"]) == (409, "/problems/wrong-cohort")


@pytest.mark.parametrize(
    "form",
    [
        {"shape": [4], "layout": "channels_last"},
        {"shape": [1, 2, 2], "missing": "core_mean"},
        {"shape": [4], "dtype": "uint8", "missing": "core_mean"},
        {"shape": [4], "column_names": ["a", "b"]},
        {"shape": [2], "column_names": ["a", "a"]},
        {"shape": [1, 2, 2], "column_names": ["a"]},
    ],
)
def test_a_form_that_does_not_fit_the_records_is_refused(shared: Site, form: dict[str, Any]) -> None:
    body = {"name": "odd", "kind": "core", "dtype": "float32", "class_names": ["a", "b"], **form}
    assert shared.client.post("/v1/cohorts", json=body).status_code == 422


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One site for everything that must change nothing."""
    folder = tmp_path_factory.mktemp("shared")
    world = make_world(folder, f"sqlite:///{folder / 'ledger.sqlite'}", core_people=2)
    with open_site(world, folder, max_core_bytes=200_000, max_body_bytes=10_000) as site:
        yield site
    world.ledger.close()


def torch_file() -> bytes:
    file = io.BytesIO()
    torch.save({"w": torch.zeros(1)}, file)
    return file.getvalue()


REFUSED: dict[str, tuple[bytes, dict[str, Any], int, str]] = {
    "a torch file": (torch_file(), {}, 422, "core-refused"),
    "nothing": (b"", {}, 422, "core-refused"),
    "cut short": (mlp()[:-1], {}, 422, "core-refused"),
    "other classes": (mlp(), {"classes": 4}, 422, "core-refused"),
    "too large": (bytes(200_001), {}, 413, "too-large"),
    "unknown network": (mlp(), {"architecture": "resnet51"}, 422, "unknown-architecture"),
    "a path": (mlp(), {"architecture": "../mlp"}, 422, "invalid-request"),
    "a module": (mlp(), {"architecture": "os:system"}, 422, "invalid-request"),
    "an address": (mlp(), {"attested_by": "planted@example.org"}, 422, "invalid-request"),
    "a letter": (mlp(), {"attested_by": "x"}, 422, "invalid-request"),
    "lines": (mlp(), {"attested_by": "officer\nof data"}, 422, "invalid-request"),
    "no role": (mlp(), {"attested_by": ""}, 422, "invalid-request"),
    "two sides": (mlp(), {"shape": "6,6"}, 422, "invalid-request"),
    "an empty side": (mlp(), {"shape": "0"}, 422, "plan-refused"),
    "a large side": (mlp(), {"architecture": "all-cnn", "shape": "3,600,600"}, 422, "plan-refused"),
    "an image": (mlp(), {"shape": "1,8,8"}, 422, "plan-refused"),
    "leaky twice": (mlp(), {"leaky": "true"}, 422, "plan-refused"),
    "half of the scales": (mlp(), {"mean": "0,0,0,0,0,0"}, 422, "plan-refused"),
    "few scales": (mlp(), {"mean": "0", "deviation": "1"}, 422, "plan-refused"),
    "a zero scale": (mlp(), {"mean": "0,0,0,0,0,0", "deviation": "1,1,0,1,1,1"}, 422, "plan-refused"),
    "words": (mlp(), {"mean": "nan,inf", "deviation": "1,1"}, 422, "invalid-request"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_leaves_nothing_behind(shared: Site, name: str) -> None:
    data, changes, status, kind = REFUSED[name]
    before = shared.stored()
    answer = send(shared, data, **changes)
    assert (answer.status_code, answer.json()["type"]) == (status, f"/problems/{kind}"), answer.text
    assert shared.stored() == before
    assert "planted" not in answer.text
    if name == "a torch file":
        assert "save_file" in answer.json()["detail"]


def test_other_types_keys_and_tenants_are_refused(site: Site) -> None:
    plain = site.client.post("/v1/core-imports", params=SAID, content=mlp(), headers={"Content-Type": "text/plain"})
    assert plain.status_code == 415
    reader = {"Authorization": f"Bearer {site.key('predict')}", **OCTETS}
    assert site.client.post("/v1/core-imports", params=SAID, content=mlp(), headers=reader).status_code == 403
    core = send(site, mlp()).json()
    stranger = {"Authorization": f"Bearer {site.key('models:write', tenant_id=site.other_tenant())}"}
    assert site.client.get(f"/v1/core-imports/{core['id']}", headers=stranger).status_code == 404
    assert site.client.get("/v1/core-imports", headers=stranger).json()["items"] == []
    assert register(site, core_import="0" * 32).status_code == 404


def test_heads_that_do_not_fit_are_refused(site: Site) -> None:
    core = send(site, mlp(8), classes=8).json()
    for body in ({"core_import": core["id"]}, {"core_import": core["id"], "head": "keep"}, {"head": "retrain"}):
        refused = register(site, **body)
        assert (refused.status_code, refused.json()["type"]) == (422, "/problems/plan-refused")


def test_the_file_is_sealed_and_read_back_whole(any_site: Site) -> None:
    data = mlp()
    core_id = send(any_site, data).json()["id"]
    ledger = any_site.world.ledger
    with ledger.database.read() as tx:
        row = tx.session.get_one(CoreImport, core_id)
        assert tx.session.get_one(StoredObject, row.object_name).state == "live"
    assert core_imports.read(ledger, row) == data
    assert data[1000:1100] not in ledger.objects.read(row.object_name)


def test_a_core_whose_writer_died_is_swept_in_time(site: Site) -> None:
    database, tenant_id = site.world.ledger.database, site.world.tenant_id
    now = database.clock()
    names = [
        inventory.write_pending(
            database, site.world.ledger.objects, tenant_id, "core", inventory.until(now + later), [b"x"]
        )
        for later in (-1, 60_000_000)
    ]
    with database.begin() as tx:
        inventory.doom_abandoned(tx, tenant_id)
        assert [tx.session.get_one(StoredObject, name).state for name in names] == ["doomed", "pending"]


def test_a_model_keeps_its_import_in_the_ledger(any_site: Site) -> None:
    core = send(any_site, mlp()).json()
    model_id = register(any_site, core_import=core["id"]).json()["model"]["id"]
    with any_site.world.ledger.database.read() as tx:
        model = tx.session.get_one(Model, model_id)
        assert (model.core_import_id, model.core_head, model.architecture) == (core["id"], "keep", "mlp")
