"""The Open Inference Protocol over raw HTTP: equal to /predict, in the protocol's own form."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
import pytest
from support.site import Site
from support.waiting import wait_until
from support.world import person

ADA = person("ada")
OCTETS = "application/octet-stream"


@pytest.fixture
def serving(site: Site) -> Site:
    """A site whose model, named `model`, answers."""
    site.world.upload(ADA, person("bob"), person("cyd"))
    site.world.register()
    site.world.work()
    wait_until(lambda: site.client.get("/v2/models/model/ready").status_code == 200, 20, "the model to be ready")
    return site


def tensor(x: np.ndarray = ADA.x, **changes: Any) -> dict[str, Any]:
    return {"name": "x", "shape": list(x.shape), "datatype": "FP32", "data": x.ravel().tolist(), **changes}


def infer(site: Site, name: str = "model", *, key: str | None = None, **body: Any) -> Any:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    return site.client.post(f"/v2/models/{name}/infer", json={"inputs": [tensor()], **body}, headers=headers)


def binary(site: Site, said: dict[str, Any], blob: bytes, **headers: str) -> Any:
    head = json.dumps(said).encode()
    headers = {"Inference-Header-Content-Length": str(len(head)), "Content-Type": OCTETS} | headers
    return site.client.post("/v2/models/model/infer", content=head + blob, headers=headers)


def unpacked(answer: Any) -> dict[str, Any]:
    """Return the outputs of an answer by name, from JSON and from what stands behind it."""
    length = int(answer.headers.get("inference-header-content-length", len(answer.content)))
    said, rest = json.loads(answer.content[:length]), answer.content[length:]
    found: dict[str, Any] = {}
    for one in said["outputs"]:
        size = one.get("parameters", {}).get("binary_data_size")
        if size is None:
            found[one["name"]] = one["data"]
            continue
        blob, rest = rest[:size], rest[size:]
        if one["datatype"] == "BYTES":
            found[one["name"]] = texts(blob)
        else:
            kind = {"FP64": "<f8", "INT64": "<i8"}[one["datatype"]]
            found[one["name"]] = np.frombuffer(blob, kind).reshape(one["shape"]).ravel().tolist()
    assert rest == b""
    return found


def texts(blob: bytes) -> list[str]:
    found = []
    while blob:
        (size,) = struct.unpack_from("<I", blob)
        found.append(blob[4 : 4 + size].decode())
        blob = blob[4 + size :]
    return found


def test_answers_equal_those_of_predict_in_every_form(serving: Site) -> None:
    model = serving.world.model_id
    native = serving.client.post(f"/v1/models/{model}/predict", json={"instances": ADA.x.tolist()}).json()
    expected = {
        "probabilities": [p for one in native["predictions"] for p in one["probabilities"]],
        "label": [one["label"] for one in native["predictions"]],
        "class_name": [one["class_name"] for one in native["predictions"]],
    }
    answer = infer(serving, id="42")
    said = answer.json()
    assert (said["model_name"], said["model_version"], said["id"]) == ("model", "1", "42")
    assert said["parameters"] == {"outputs": "probabilities"}
    assert said["outputs"][0]["shape"] == [3, 3]
    assert answer.headers["x-model-version"] == "1"
    head = {"inputs": [{**tensor(parameters={"binary_data_size": ADA.x.nbytes}), "data": None}]}
    del head["inputs"][0]["data"]
    both = head | {"parameters": {"binary_data_output": True}}
    mixed = head | {"outputs": [{"name": "label", "parameters": {"binary_data": True}}, {"name": "probabilities"}]}
    wide = {"inputs": [{"name": "x", "shape": [3, 6], "datatype": "FP64", "parameters": {"binary_data_size": 144}}]}
    for one in (
        answer,
        infer(serving, model),
        infer(serving, "model/versions/1"),
        infer(serving, inputs=[tensor(data=ADA.x.tolist())]),
        binary(serving, both, ADA.x.tobytes()),
        binary(serving, wide, ADA.x.astype("<f8").tobytes()),
    ):
        assert one.status_code == 200, one.text
        assert unpacked(one) == expected
    part = binary(serving, mixed, ADA.x.tobytes())
    assert part.headers["content-type"] == OCTETS
    assert list(unpacked(part)) == ["label", "probabilities"]
    assert unpacked(part)["label"] == expected["label"]


def test_a_model_describes_itself_and_says_when_it_is_ready(serving: Site) -> None:
    said = serving.client.get("/v2").json()
    assert (said["name"], said["extensions"]) == ("lacuna", ["binary_tensor_data"])
    for address in ("model", serving.world.model_id, "model/versions/1"):
        found = serving.client.get(f"/v2/models/{address}").json()
        assert found["versions"] == ["1"]
        assert found["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 6]}]
        assert [one["name"] for one in found["outputs"]] == ["probabilities", "label", "class_name"]
        ready = serving.client.get(f"/v2/models/{address}/ready")
        assert (ready.status_code, ready.json()["ready"], ready.json()["live"]) == (200, True, True)
    for address, status in (("model/versions/2", 404), ("model/versions/one", 404), ("nobody", 404), ("0" * 32, 404)):
        for path in ("", "/ready"):
            answer = serving.client.get(f"/v2/models/{address}{path}")
            assert (answer.status_code, list(answer.json())) == (status, ["error"]), address
    late = serving.world.register("late")
    for address in ("late", late):
        ready = serving.client.get(f"/v2/models/{address}/ready")
        assert (ready.status_code, ready.json()["ready"]) == (400, False)
        assert infer(serving, address).status_code == 503
    serving.world.forget("bob")
    serving.world.work()
    wait_until(lambda: infer(serving).json().get("model_version") == "2", 20, "version 2 to be served")
    for path in ("", "/ready"):
        assert serving.client.get(f"/v2/models/model/versions/1{path}").status_code == 409
    assert infer(serving, "model/versions/1").status_code == 409


def test_what_a_key_may_see_holds_here_too(serving: Site) -> None:
    made = {}
    for mode in ("rounded", "label"):
        body = {"label": mode, "scopes": ["predict"], "outputs": mode}
        made[mode] = serving.client.post("/v1/keys", json=body).json()["key"]
    rounded = infer(serving, key=made["rounded"]).json()
    assert rounded["parameters"] == {"outputs": "rounded", "digits": 2}
    full = infer(serving).json()["outputs"][0]["data"]
    assert rounded["outputs"][0]["data"] == np.round(full, 2).tolist() != full
    label = infer(serving, key=made["label"]).json()
    assert [one["name"] for one in label["outputs"]] == ["label", "class_name"]
    refused = infer(serving, key=made["label"], outputs=[{"name": "probabilities"}])
    assert (refused.status_code, list(refused.json())) == (422, ["error"])
    described = serving.client.get("/v2/models/model", headers={"Authorization": f"Bearer {made['label']}"}).json()
    assert [one["name"] for one in described["outputs"]] == ["label", "class_name"]


def test_requests_that_are_none(serving: Site) -> None:
    good = tensor()
    wrong: list[dict[str, Any]] = [
        {"inputs": []},
        {"inputs": [good, good]},
        {"inputs": ["planted"]},
        {"inputs": [tensor(name="planted")]},
        {"inputs": [tensor(datatype="BOOL")]},
        {"inputs": [tensor(datatype="planted")]},
        {"inputs": [tensor(datatype=["planted"])]},
        {"inputs": [tensor(shape=[3, 5])]},
        {"inputs": [tensor(shape=[18])]},
        {"inputs": [tensor(shape=[-3, -6])]},
        {"inputs": [tensor(shape=[2**30, 2**30, 2**30])]},
        {"inputs": [tensor(shape=[0, 6], data=[])]},
        {"inputs": [tensor(shape=[True, 18])]},
        {"inputs": [tensor(data="planted")]},
        {"inputs": [tensor(data=["planted"] * 18)]},
        {"inputs": [tensor(data=[[1.0], [1.0, 2.0]])]},
        {"inputs": [tensor(data=[1e300] * 18)]},
        {"inputs": [good], "outputs": [{"name": "planted"}]},
        {"inputs": [good], "outputs": [{"name": ["planted"]}]},
        {"inputs": [good], "outputs": [{"name": "label"}, {"name": "label"}]},
        {"inputs": [good], "outputs": "planted"},
        {"inputs": [good], "id": 3},
        {"inputs": [good], "parameters": "planted"},
        {"inputs": [tensor(parameters={"binary_data_size": 72})]},
    ]
    for body in wrong:
        answer = serving.client.post("/v2/models/model/infer", json=body)
        assert (answer.status_code, list(answer.json())) == (422, ["error"]), (body, answer.text)
        assert "planted" not in answer.text
    blob = {"inputs": [{"name": "x", "shape": [3, 6], "datatype": "FP32", "parameters": {"binary_data_size": 72}}]}
    short = {"inputs": [blob["inputs"][0] | {"parameters": {"binary_data_size": 68}}]}
    not_numbers = np.full((3, 6), np.nan, "<f4").tobytes()
    for answer, status in (
        (binary(serving, blob, ADA.x.tobytes()[:-1]), 422),
        (binary(serving, blob, not_numbers), 422),
        (binary(serving, short, ADA.x.tobytes()[:68]), 422),
        (binary(serving, {"inputs": [good]}, b"left"), 422),
        (binary(serving, blob, ADA.x.tobytes(), **{"Inference-Header-Content-Length": "99999"}), 400),
        (binary(serving, blob, ADA.x.tobytes(), **{"Inference-Header-Content-Length": "-1"}), 400),
        (binary(serving, blob, ADA.x.tobytes(), **{"Content-Type": "text/csv"}), 415),
        (serving.client.post("/v2/models/model/infer", content=b"[" * 10_000), 400),
        (serving.client.get("/v2/nowhere"), 404),
        (serving.client.put("/v2/models/model/infer"), 405),
    ):
        assert (answer.status_code, list(answer.json())) == (status, ["error"]), answer.text


def test_keys_are_asked_for_and_other_tenants_see_nothing(serving: Site) -> None:
    other = {"Authorization": f"Bearer {serving.key('admin', tenant_id=serving.other_tenant())}"}
    reader = {"Authorization": f"Bearer {serving.key('audit:read')}"}
    for name in ("model", serving.world.model_id):
        assert serving.client.get(f"/v2/models/{name}", headers=other).status_code == 404
        answer = serving.client.post(f"/v2/models/{name}/infer", json={"inputs": [tensor()]}, headers=other)
        assert (answer.status_code, list(answer.json())) == (404, ["error"])
        assert serving.client.get(f"/v2/models/{name}", headers=reader).status_code == 200
        assert serving.client.post(f"/v2/models/{name}/infer", json={}, headers=reader).status_code == 403
    serving.client.headers.pop("Authorization")
    for path in ("/v2", "/v2/models/model", "/v2/models/model/ready"):
        answer = serving.client.get(path)
        assert (answer.status_code, list(answer.json())) == (401, ["error"])
    for path in ("/v2/health/live", "/v2/health/ready"):
        assert serving.client.get(path).json() == {"live": True, "ready": True}
