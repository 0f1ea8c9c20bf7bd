"""The client sends what the interface asks for and turns refusals into facts."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import pytest

from service.client import LacunaClient
from service.client_errors import (
    ApiProblem,
    JobFailed,
    RequestFailed,
    ServiceUnreachable,
    UploadFailed,
    WaitedTooLong,
)

Handler = Callable[[httpx.Request], httpx.Response]


def client_of(handler: Handler) -> LacunaClient:
    return LacunaClient("http://lacuna.invalid/", "lacuna_key", transport=httpx.MockTransport(handler))


def answers(*bodies: dict[str, object]) -> Handler:
    """Give these answers in turn, and the last one for ever."""
    left = list(bodies)
    return lambda request: httpx.Response(200, json=left.pop(0) if len(left) > 1 else left[0])


def test_an_upload_is_an_npz_without_pickles() -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        request.read()
        seen.append(request)
        return httpx.Response(202, json={"upload": "u", "records": 2, "job": 5})

    x = np.arange(128, dtype=np.uint8).reshape(2, 1, 8, 8)
    with client_of(handler) as client:
        answer = client.upload(
            "c1",
            x,
            np.array([0, 1]),
            subjects=np.array(["ada", "bo"]),
            ids=np.array(["r1", "r2"]),
            subject_type="email",
        )
    assert answer["job"] == 5
    (request,) = seen
    assert request.url.path == "/v1/cohorts/c1/records"
    assert dict(request.url.params) == {"subject_type": "email"}
    assert request.headers["Authorization"] == "Bearer lacuna_key"
    with np.load(io.BytesIO(request.content), allow_pickle=False) as arrays:
        assert np.array_equal(arrays["x"], x)
        assert arrays["subject"].tolist() == ["ada", "bo"]
        assert arrays["id"].tolist() == ["r1", "r2"]


def test_objects_cannot_be_uploaded() -> None:
    with client_of(answers({})) as client, pytest.raises(ValueError, match="allow_pickle"):
        client.upload("c1", np.array([{}], dtype=object), np.array([0]))


def test_a_forget_request_carries_only_what_was_selected() -> None:
    bodies: list[object] = []

    def handler(request: httpx.Request) -> httpx.Response:
        bodies.append(json.loads(request.read()))
        return httpx.Response(202, json={"id": "r"})

    with client_of(handler) as client:
        client.forget(subjects=["a@example.org"], subject_type="email", cohorts=["c"], regulation="ccpa")
        client.forget(labels=[0])
        client.forget(everything=True)
    assert bodies == [
        {"subjects": [{"value": "a@example.org", "type": "email"}], "cohorts": ["c"], "regulation": "ccpa"},
        {"labels": [0]},
        {"everything": True},
    ]


def test_a_correction_sends_only_what_changes_and_a_file_goes_as_it_is(tmp_path: Path) -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        request.read()
        seen.append(request)
        return httpx.Response(202, json={"forget_request": "r"})

    file = tmp_path / "corrected.jsonl"
    file.write_text('{"id": "r1", "y": 1}\n')
    with client_of(handler) as client:
        assert client.correct("c1", ids=np.array(["r1"]), y=np.array([1]))["forget_request"] == "r"
        client.correct_file("c1", file, subject_type="email")
        with pytest.raises(UploadFailed, match=r"\*\.txt is not known"):
            client.correct_file("c1", file.rename(tmp_path / "corrected.txt"))
        with pytest.raises(UploadFailed, match="there is no format 'csv'; there are npz, ndjson"):
            client.correct_file("c1", tmp_path / "corrected.txt", format="csv")
    arrays, lines = seen
    assert arrays.url.path == lines.url.path == "/v1/cohorts/c1/corrections"
    with np.load(io.BytesIO(arrays.content), allow_pickle=False) as sent:
        assert {name: sent[name].tolist() for name in sent} == {"id": ["r1"], "y": [1]}
    assert lines.content == b'{"id": "r1", "y": 1}\n'
    assert lines.headers["Content-Type"] == "application/x-ndjson"
    assert dict(lines.url.params) == {"subject_type": "email"}


def test_holds_and_suppressions_are_asked_for_in_their_own_words() -> None:
    asked: list[tuple[str, str, object]] = []

    def handler(request: httpx.Request) -> httpx.Response:
        body = request.read()
        asked.append((request.method, request.url.path, json.loads(body) if body else None))
        return httpx.Response(200, json={"items": [{"id": "h"}]})

    ada = {"value": "ada@example.org", "type": "email"}
    with client_of(handler) as client:
        client.holds.place("ada@example.org", "case 7", subject_type="email")
        assert client.holds.list_all() == [{"id": "h"}]
        client.holds.release("h")
        client.suppressions.count()
        client.suppressions.withdraw(["ada@example.org"], subject_type="email")
    assert asked == [
        ("POST", "/v1/holds", {"subject": ada, "reason": "case 7"}),
        ("GET", "/v1/holds", None),
        ("DELETE", "/v1/holds/h", None),
        ("GET", "/v1/suppressions", None),
        ("POST", "/v1/suppressions/withdrawals", {"subjects": [ada]}),
    ]


def test_a_problem_keeps_its_fields() -> None:
    body = {"type": "https://lacuna.invalid/NotFound", "title": "Not found", "status": 404, "detail": "No such model."}
    handler: Handler = lambda request: httpx.Response(  # noqa: E731 - a handler is one expression
        404, json=body, headers={"Content-Type": "application/problem+json"}
    )
    with client_of(handler) as client, pytest.raises(ApiProblem) as caught:
        client.model("m")
    problem = caught.value
    assert (problem.status, problem.title, problem.detail) == (404, "Not found", "No such model.")
    assert problem.type == "https://lacuna.invalid/NotFound"


@pytest.mark.parametrize(
    "response",
    [
        httpx.Response(502, text="<html>bad gateway</html>"),
        httpx.Response(502, content=b"{", headers={"Content-Type": "application/json"}),
        httpx.Response(502, json=["no", "object"]),
    ],
)
def test_a_refusal_that_is_no_problem_document_is_still_understood(response: httpx.Response) -> None:
    with client_of(lambda _: response) as client, pytest.raises(ApiProblem, match=r"Bad Gateway \(502\)"):
        client.models()


def test_nobody_there_is_said_with_the_address() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("connection refused", request=request)

    with client_of(refuse) as client, pytest.raises(ServiceUnreachable, match=r"http://lacuna\.invalid: connection"):
        client.me()


def test_a_prediction_waits_while_no_version_serves() -> None:
    responses = [
        httpx.Response(503, headers={"Retry-After": "0"}),
        httpx.Response(200, json={"model_version": 3, "predictions": []}),
    ]
    with client_of(lambda _: responses.pop(0)) as client:
        assert client.predict("m", np.zeros((1, 1, 8, 8), np.uint8))["model_version"] == 3


def test_a_prediction_does_not_wait_for_ever() -> None:
    with client_of(lambda _: httpx.Response(503)) as client, pytest.raises(ApiProblem, match="503"):
        client.predict("m", np.zeros((1, 1, 8, 8), np.uint8), patience_s=-1.0)


def test_waiting_for_a_job_reports_progress_and_returns_it() -> None:
    states = [("ready", 0.0, None), ("running", 0.5, "epoch 3"), ("done", 1.0, "epoch 6")]
    bodies = [{"state": s, "progress": p, "note": n, "error": None, "result": {"n": 1}} for s, p, n in states]
    seen: list[tuple[float, str]] = []
    with client_of(answers(*bodies)) as client:
        job = client.wait_for_job(7, on_progress=lambda fraction, note: seen.append((fraction, note)))
    assert job["result"] == {"n": 1}
    assert seen == [(0.0, ""), (0.5, "epoch 3"), (1.0, "epoch 6")]


def test_a_failed_job_says_why() -> None:
    body: dict[str, object] = {"state": "failed", "progress": 0.1, "note": None, "error": "the disk is full"}
    with client_of(answers(body)) as client, pytest.raises(JobFailed, match="Job 7 failed: the disk is full"):
        client.wait_for_job(7)


def test_waiting_for_a_request_ends_with_it() -> None:
    with client_of(answers({"state": "accepted"}, {"state": "completed", "records": 4})) as client:
        assert client.wait_for_request("r")["records"] == 4
    with client_of(answers({"state": "cancelled", "error": None})) as client, pytest.raises(RequestFailed):
        client.wait_for_request("r")
    with client_of(answers({"state": "purging"})) as client, pytest.raises(WaitedTooLong, match="Ask again later"):
        client.wait_for_request("r", timeout_s=0.0)


def test_the_certificate_comes_byte_for_byte() -> None:
    envelope = b'{"payload":  "eyJ9"}'
    with client_of(lambda _: httpx.Response(200, content=envelope)) as client:
        assert client.certificate("r") == envelope
