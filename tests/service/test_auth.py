"""Who may do what."""

from __future__ import annotations

import base64
import re
from typing import Any

import pytest
from support.site import NPZ, Site, npz

from ledger.tenants import SCOPES
from service.auth import is_guarded, presented_key
from service.refusals import NotAuthenticated

ID = "0" * 32
READ_COHORTS = {"data:write", "models:write", "forget:write", "audit:read"}
READ_MODELS = {"models:write", "data:write", "forget:write", "predict", "audit:read"}
READ_JOBS = {"data:write", "models:write", "forget:write", "audit:read"}
READ_REQUESTS = {"forget:write", "audit:read"}
READ_VERSIONS = {"models:write", "audit:read"}
ALL = set(SCOPES)

MATRIX: dict[tuple[str, str], set[str]] = {
    ("GET", "/v1/me"): ALL,
    ("GET", "/v1/signing-keys"): ALL,
    ("GET", "/v1/signing-keys/{key_id}"): ALL,
    ("GET", "/v1/revocations"): ALL,
    ("POST", "/v1/keys"): set(),
    ("GET", "/v1/keys"): set(),
    ("GET", "/v1/keys/{key_id}"): set(),
    ("POST", "/v1/keys/{key_id}/rotate"): set(),
    ("DELETE", "/v1/keys/{key_id}"): set(),
    ("PATCH", "/v1/keys/{key_id}"): set(),
    ("GET", "/v1/keys/self/leakage"): ALL,
    ("GET", "/v1/keys/{key_id}/budgets/{model_id}"): {"audit:read"},
    ("PUT", "/v1/keys/{key_id}/budgets/{model_id}"): set(),
    ("DELETE", "/v1/keys/{key_id}/budgets/{model_id}"): set(),
    ("GET", "/v1/models/{model_id}/leakage"): {"audit:read"},
    ("GET", "/v1/forget-requests/{request_id}/recipients"): {"audit:read"},
    ("POST", "/v1/cohorts"): {"data:write"},
    ("GET", "/v1/cohorts"): READ_COHORTS,
    ("GET", "/v1/cohorts/{cohort_id}"): READ_COHORTS,
    ("POST", "/v1/cohorts/{cohort_id}/records"): {"data:write"},
    ("POST", "/v1/models"): {"models:write"},
    ("GET", "/v1/models"): READ_MODELS,
    ("GET", "/v1/models/{model_id}"): READ_MODELS,
    ("GET", "/v1/models/{model_id}/batching"): {"models:write", "forget:write", "audit:read"},
    ("PUT", "/v1/models/{model_id}/batching"): {"models:write"},
    ("POST", "/v1/models/{model_id}/rebuild"): set(),
    ("GET", "/v1/models/{model_id}/versions"): READ_VERSIONS,
    ("GET", "/v1/models/{model_id}/versions/{number}"): READ_VERSIONS,
    ("POST", "/v1/models/{model_id}/versions/{number}/digests"): {"audit:read"},
    ("POST", "/v1/models/{model_id}/predict"): {"predict"},
    ("POST", "/v1/forget-requests"): {"forget:write"},
    ("POST", "/v1/forget-requests/dry-run"): READ_REQUESTS,
    ("GET", "/v1/forget-requests"): READ_REQUESTS,
    ("GET", "/v1/forget-requests/{request_id}"): READ_REQUESTS,
    ("DELETE", "/v1/forget-requests/{request_id}"): {"forget:write"},
    ("POST", "/v1/forget-requests/{request_id}/extension"): {"forget:write"},
    ("GET", "/v1/forget-requests/{request_id}/extension"): READ_REQUESTS,
    ("GET", "/v1/tenant"): ALL,
    ("PUT", "/v1/tenant"): set(),
    ("GET", "/v1/forget-requests/{request_id}/certificate"): READ_REQUESTS,
    ("GET", "/v1/forget-requests/{request_id}/certificate.html"): READ_REQUESTS,
    ("GET", "/v1/forget-requests/{request_id}/receipt"): {"forget:write"},
    ("DELETE", "/v1/forget-requests/{request_id}/receipt"): {"forget:write"},
    ("GET", "/v1/forget-requests/{request_id}/proof"): READ_REQUESTS,
    ("GET", "/v1/log/checkpoint"): READ_REQUESTS,
    ("GET", "/v1/log/checkpoints"): READ_REQUESTS,
    ("GET", "/v1/log/consistency"): READ_REQUESTS,
    ("GET", "/v1/jobs"): READ_JOBS,
    ("GET", "/v1/jobs/{job_id}"): READ_JOBS,
    ("POST", "/v1/jobs/{job_id}/retry"): set(),
    ("POST", "/v1/cohorts/{cohort_id}/corrections"): {"data:write"},
    ("POST", "/v1/cohorts/{cohort_id}/uploads"): {"data:write"},
    ("PATCH", "/v1/uploads/{upload_id}"): {"data:write"},
    ("HEAD", "/v1/uploads/{upload_id}"): {"data:write"},
    ("GET", "/v1/uploads/{upload_id}"): {"data:write", "audit:read"},
    ("POST", "/v1/uploads/{upload_id}/finish"): {"data:write"},
    ("DELETE", "/v1/uploads/{upload_id}"): {"data:write"},
    ("POST", "/v1/core-imports"): {"models:write"},
    ("GET", "/v1/core-imports"): READ_VERSIONS,
    ("GET", "/v1/core-imports/{import_id}"): READ_VERSIONS,
    ("POST", "/v1/models/{model_id}/successor"): {"models:write"},
    ("POST", "/v1/models/{model_id}/cut-over"): {"models:write"},
    ("POST", "/v1/models/{model_id}/rollback"): {"models:write"},
    ("GET", "/v1/models/{model_id}/generations"): READ_VERSIONS,
    ("DELETE", "/v1/models/{model_id}"): set(),
    ("GET", "/v1/models/{model_id}/certificate"): READ_VERSIONS,
    ("POST", "/v1/holds"): {"forget:write"},
    ("GET", "/v1/holds"): READ_REQUESTS,
    ("GET", "/v1/holds/{hold_id}"): READ_REQUESTS,
    ("DELETE", "/v1/holds/{hold_id}"): {"forget:write"},
    ("GET", "/v1/suppressions"): READ_REQUESTS,
    ("POST", "/v1/suppressions/withdrawals"): {"forget:write"},
    ("PUT", "/v1/cohorts/{cohort_id}/retention"): {"forget:write"},
    ("GET", "/v1/events"): {"audit:read"},
    ("GET", "/v1/forget-requests/{request_id}/events"): READ_REQUESTS,
    ("POST", "/v1/webhooks"): set(),
    ("GET", "/v1/webhooks"): {"audit:read"},
    ("GET", "/v1/webhooks/{webhook_id}"): {"audit:read"},
    ("PATCH", "/v1/webhooks/{webhook_id}"): set(),
    ("DELETE", "/v1/webhooks/{webhook_id}"): set(),
    ("POST", "/v1/webhooks/{webhook_id}/rotate"): set(),
    ("POST", "/v1/webhooks/{webhook_id}/ping"): set(),
    ("POST", "/v1/webhooks/{webhook_id}/replay"): set(),
    ("GET", "/v1/webhooks/{webhook_id}/deliveries"): {"audit:read"},
    ("GET", "/v1/webhooks/{webhook_id}/deliveries/{delivery_id}"): {"audit:read"},
    ("POST", "/v1/webhooks/{webhook_id}/deliveries/{delivery_id}/replay"): set(),
    ("GET", "/metrics"): {"audit:read"},
    ("GET", "/v2"): ALL,
    ("GET", "/v2/models/{name}"): READ_MODELS,
    ("GET", "/v2/models/{name}/versions/{number}"): READ_MODELS,
    ("GET", "/v2/models/{name}/ready"): READ_MODELS,
    ("GET", "/v2/models/{name}/versions/{number}/ready"): READ_MODELS,
    ("POST", "/v2/models/{name}/infer"): {"predict"},
    ("POST", "/v2/models/{name}/versions/{number}/infer"): {"predict"},
}
"""The scopes that open each address; `admin` opens all of them."""
BODIES: dict[str, Any] = {
    "/v1/forget-requests/{request_id}/extension": {"reason": "a case"},
    "/v1/keys": {"label": "a", "scopes": ["predict"]},
    "/v1/keys/{key_id}/rotate": {},
    "/v1/cohorts": {"name": "a", "kind": "user", "shape": [2], "dtype": "uint8", "class_names": ["a", "b"]},
    "/v1/models": {"name": "a", "core_cohort": ID, "user_cohorts": [ID]},
    "/v1/models/{model_id}/versions/{number}/digests": {"challenge": "00" * 16},
    "/v1/models/{model_id}/predict": {"instances": [[0]]},
    "/v1/forget-requests": {"everything": True},
    "/v1/forget-requests/dry-run": {"everything": True},
    "/v1/cohorts/{cohort_id}/uploads": {"format": "npz"},
    "/v1/models/{model_id}/successor": {"epochs": 2},
    "/v1/models/{model_id}/rollback": {"to": 1},
    "/v1/holds": {"subject": {"value": "somebody"}, "reason": "a case"},
    "/v1/webhooks": {"url": "https://hooks.example.org/", "label": "a"},
    "/v1/webhooks/{webhook_id}/rotate": {},
    "/v1/webhooks/{webhook_id}/replay": {"since": "2026-11-01T00:00:00Z"},
    "/v1/suppressions/withdrawals": {"subjects": [{"value": "somebody"}]},
}


def test_the_matrix_names_every_guarded_address(site: Site) -> None:
    described = site.client.get("/openapi.json").json()["paths"]
    there = {(verb.upper(), path) for path, verbs in described.items() for verb in verbs if is_guarded(path)}
    assert there == set(MATRIX)


def ask(site: Site, method: str, path: str, headers: dict[str, str]) -> int:
    """Send a request that is right in form; return its status."""
    if path == "/v1/events":  # it would answer for as long as somebody listens
        headers = {**headers, "Last-Event-ID": "none"}
    address = re.sub(r"\{(\w+)\}", lambda name: "1" if name[1] in ("job_id", "number") else ID, path)
    if path.endswith(("/records", "/corrections")):
        content = {"content": npz(), "headers": {**headers, "Content-Type": NPZ}}
    else:
        content = (
            {"json": BODIES[path], "headers": headers} if method == "POST" and path in BODIES else {"headers": headers}
        )
    return int(site.client.request(method, address, **content).status_code)


def test_each_scope_opens_what_it_should_and_nothing_else(site: Site) -> None:
    for scope in SCOPES:
        headers = {"Authorization": f"Bearer {site.key(scope)}"}
        opened = {at for at in MATRIX if ask(site, *at, headers) not in (401, 403)}
        assert opened == {at for at, scopes in MATRIX.items() if scope in scopes or scope == "admin"}, scope


def test_without_a_valid_key_nothing_opens(site: Site) -> None:
    before = site.stored()
    for header in ("", "Bearer lacuna_wrong", "Bearer ", "Basic !!!", "Basic " + base64.b64encode(b"nocolon").decode()):
        for at in MATRIX:
            assert ask(site, *at, {"Authorization": header}) == 401, (at, header)
    assert site.stored() == before


def test_the_challenge_is_bearer(site: Site) -> None:
    site.client.headers.pop("Authorization")
    answer = site.client.get("/v1/me")
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, 'Bearer realm="lacuna"')
    assert answer.json()["type"] == "/problems/no-key"
    assert site.client.get("/dashboard").headers["www-authenticate"] == 'Bearer realm="lacuna"'


def test_the_key_may_be_a_basic_password(site: Site) -> None:
    site.client.headers.pop("Authorization")
    answer = site.client.get("/v1/me", auth=("anybody", site.key("predict")))
    assert answer.json() == {"tenant": "default", "key": "a key", "scopes": ["predict"]}


def test_a_tenant_sees_nothing_of_another(site: Site) -> None:
    request = site.client.post("/v1/forget-requests", json={"everything": True}).json()["id"]
    job = site.client.get("/v1/jobs").json()["items"][0]["id"]
    model = site.world.register()
    other = {"Authorization": f"Bearer {site.key(*SCOPES, tenant_id=site.other_tenant())}"}
    for path in ("cohorts", "models", "jobs", "forget-requests"):
        assert site.client.get(f"/v1/{path}", headers=other).json() == {"items": []}
    for path in (
        f"cohorts/{site.world.user_id}",
        f"models/{model}",
        f"models/{model}/versions",
        f"jobs/{job}",
        f"forget-requests/{request}",
        f"forget-requests/{request}/certificate",
    ):
        assert site.client.get(f"/v1/{path}").status_code in (200, 404)
        assert site.client.get(f"/v1/{path}", headers=other).status_code == 404, path
    assert site.client.delete(f"/v1/forget-requests/{request}", headers=other).status_code == 404
    assert site.client.post(f"/v1/models/{model}/predict", json={"instances": [[0]]}, headers=other).status_code == 404
    body = {"everything": True, "cohorts": [site.world.user_id]}
    assert site.client.post("/v1/forget-requests", json=body, headers=other).status_code == 404


def test_other_sites_cannot_make_a_browser_do_things(site: Site) -> None:
    at = f"/v1/models/{site.world.register()}/rebuild"
    before = site.stored()
    for origin in ("cross-site", "same-site"):
        assert site.client.post(at, headers={"Sec-Fetch-Site": origin}).status_code == 403
    assert site.stored() == before
    assert site.client.post(at, headers={"Sec-Fetch-Site": "same-origin"}).status_code == 202


@pytest.mark.parametrize("header", [None, "", "Bearer", "Digest x", "Basic \xff", "Basic Zm9v", "Basic Zm9vOg=="])
def test_headers_without_a_key(header: str | None) -> None:
    with pytest.raises(NotAuthenticated):
        presented_key(header)
