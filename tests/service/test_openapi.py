"""The description of the interface is complete and true."""

from __future__ import annotations

from typing import Any

import pytest
from support.site import Site

from service.api.cohorts import NewCohort
from service.api.extensions import NewExtension, TenantSettings
from service.api.forget_requests import NewRequest
from service.api.holds import NewHold
from service.api.keys import NewKey, Rotation
from service.api.models import NewModel
from service.api.suppressions import Withdrawal
from service.api.versions import Challenge
from service.errors import PROBLEM_JSON


def operations(site: Site) -> list[tuple[str, dict[str, Any]]]:
    paths = site.client.get("/openapi.json").json()["paths"]
    return [(f"{verb} {path}", operation) for path, verbs in paths.items() for verb, operation in verbs.items()]


def test_every_operation_says_what_it_does_and_how_it_fails(site: Site) -> None:
    found = operations(site)
    assert len(found) > 20
    for name, operation in found:
        assert operation["summary"], name
        assert len(operation["description"]) > 20, name
        if "/v1/" in name:
            assert {"401", "403", "422", "503"} <= set(operation["responses"]), name
            assert operation["security"], name
        for status, response in operation["responses"].items():
            if status >= "400":
                form = "application/json" if " /v2" in name else PROBLEM_JSON  # the protocol has a form of its own
                assert list(response["content"]) == [form], (name, status)
                assert response["description"], (name, status)


def test_every_reference_leads_somewhere(site: Site) -> None:
    schema = site.client.get("/openapi.json").json()

    def references(node: Any) -> list[str]:
        if isinstance(node, dict):
            own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
            return own + [one for value in node.values() for one in references(value)]
        return [one for value in node for one in references(value)] if isinstance(node, list) else []

    found = set(references(schema))
    assert "#/components/schemas/Problem" in found
    for reference in found:
        node = schema
        for step in reference.removeprefix("#/").split("/"):
            node = node[step]


@pytest.mark.parametrize(
    "form",
    [NewCohort, NewRequest, NewModel, Challenge, NewHold, Withdrawal, NewKey, Rotation, NewExtension, TenantSettings],
)
def test_every_example_is_accepted(form: Any) -> None:
    examples = form.model_json_schema()["examples"]
    assert examples
    for example in examples:
        form.model_validate(example)
