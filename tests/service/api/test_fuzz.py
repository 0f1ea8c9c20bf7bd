"""Any JSON to any address that reads some: refused or accepted, never a failure, and nothing is repeated."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.mutations import json_values
from support.site import Site

EXAMPLES = int(os.environ.get("LACUNA_FUZZ_EXAMPLES", "60"))
NEW_COHORT = {"name": "c", "kind": "user", "shape": [1, 8, 8], "dtype": "uint8", "class_names": ["no", "yes"]}
BODIES: dict[str, dict[str, Any]] = {
    "/v1/cohorts": NEW_COHORT,
    "/v1/cohorts/{user}/uploads": {"format": "ndjson", "size": 7, "subject_type": "email"},
    "/v1/models": {"name": "m", "core_cohort": "{core}", "user_cohorts": ["{user}"], "alpha": 5.0, "capacity": 1000},
    "/v1/models/{user}/predict": {"instances": [[0, 0, 0, 0, 0, 0]]},
    "/v1/models/{user}/versions/1/digests": {"challenge": "00" * 16},
    "/v1/forget-requests": {"subjects": [{"value": "planted", "type": "email", "format": "raw"}], "regulation": "gdpr"},
}


@st.composite
def changed(draw: st.DrawFn, body: dict[str, Any]) -> Any:
    """A valid body in which a field or two are replaced, left out or added; now and then anything at all."""
    if draw(st.integers(0, 9)) == 0:
        return draw(json_values())
    result = dict(body)
    for _ in range(draw(st.integers(1, 2))):
        name = draw(st.sampled_from([*body, "everything", "labels", "record_ids"]) | st.text(max_size=5))
        if draw(st.booleans()):
            result[name] = draw(json_values())
        else:
            result.pop(name, None)
    return result


@pytest.mark.parametrize("path", BODIES)
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_json_is_accepted_or_refused(site: Site, path: str, data: st.DataObject) -> None:
    ids = {"{core}": site.world.core_id, "{user}": site.world.user_id}
    body = json.dumps(data.draw(changed(BODIES[path])))
    for name, value in ids.items():
        body, path = body.replace(name, value), path.replace(name, value)
    answer = site.client.post(path, content=body.encode(), headers={"Content-Type": "application/json"})
    assert answer.status_code < 500, (answer.text, body)
    if answer.status_code >= 400:
        assert answer.json()["status"] == answer.status_code
        assert "planted" not in answer.text


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=200), path=st.sampled_from(["/v1/cohorts", "/v1/forget-requests", "/v1/models"]))
def test_any_bytes_are_refused(site: Site, path: str, body: bytes) -> None:
    answer = site.client.post(path, content=body, headers={"Content-Type": "application/json"})
    assert 400 <= answer.status_code < 500, answer.text
