"""Who is named in an upload or a request is found nowhere afterwards: not in errors, logs, events, or any file."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import structlog
from sqlalchemy import select
from sqlalchemy.exc import OperationalError
from support.site import Site, npz, open_site
from support.world import NewWorld

from ledger import catalog
from ledger.tables import Event
from service.logs import UVICORN_CRASH, configure_logging

PLANTED = "planted-4711@example.org"
DRY_RUNS = (
    {"subjects": [{"value": PLANTED, "type": "email"}]},
    {"record_ids": [PLANTED]},
    {"subjects": [{"value": PLANTED}], "record_ids": [PLANTED]},
    {"subjects": [{"value": "a", "type": PLANTED}]},
    {PLANTED: PLANTED},
)
FORMS = (PLANTED.encode(), PLANTED.encode("utf-16-le"), PLANTED.encode("utf-32-le"), PLANTED.encode().hex().encode())


@pytest.fixture(params=["json", "console"])
def logged(request: pytest.FixtureRequest) -> Iterator[io.StringIO]:
    """Everything that is logged, at the most talkative level."""
    root = logging.getLogger()
    before = (root.handlers, root.level)
    stream = io.StringIO()
    configure_logging("DEBUG", request.param, stream)
    client = logging.getLogger("httpx2")  # the tests' own client logs the addresses that it asks
    client.disabled = True
    yield stream
    client.disabled = False
    structlog.reset_defaults()
    root.handlers, level = before[0], before[1]
    root.setLevel(level)


def names_planted(data: bytes) -> bool:
    return any(form in data for form in FORMS)


def test_the_search_finds_what_is_there(logged: io.StringIO, tmp_path: Path) -> None:
    structlog.get_logger("any").info("said", value=PLANTED)
    assert names_planted(logged.getvalue().encode())
    (tmp_path / "file").write_bytes(b"\x00" + PLANTED.encode("utf-32-le"))
    assert names_planted((tmp_path / "file").read_bytes())


def test_nothing_names_anybody(new_world: NewWorld, tmp_path: Path, logged: io.StringIO) -> None:
    world = new_world()
    said: list[str] = []
    with open_site(world, tmp_path) as site:
        for status, text in everything(site):
            assert status != 500, text
            said.append(text)
        world.work()
        with world.ledger.database.read() as tx:
            events = b"".join(tx.session.execute(select(Event.body)).scalars())
        assert b"forget.accepted" in events
        assert not names_planted(events)
    assert len([one for one in said if "/problems/" in one]) >= 10
    assert not names_planted("".join(said).encode())
    assert "/v1/forget-requests/{request_id}" in logged.getvalue()
    assert not names_planted(logged.getvalue().encode())
    folder = Path(world.ledger.database.engine.url.database or "").parent
    files = [path for path in [*folder.rglob("*"), *tmp_path.rglob("*")] if path.is_file()]
    database = [path for path in files if path.name == "ledger.sqlite"]
    assert database
    assert any(b"cohort of tests" in path.read_bytes() for path in files)  # names of cohorts are kept as they are
    assert [path for path in files if names_planted(path.read_bytes())] == []


def everything(site: Site) -> Iterator[tuple[int, str]]:
    """Name somebody in every way there is, right and wrong."""
    x, y = np.zeros((2, 6), np.float32), np.array([0, 1])
    who, user = np.array([PLANTED, "other"]), site.world.user_id
    body = {"name": "cohort of tests", "kind": "user", "shape": [6], "dtype": "float32", "class_names": ["a", "b"]}
    posts = [
        ("/v1/cohorts", body),
        ("/v1/cohorts", {**body, "name": "other", "kind": PLANTED}),
        ("/v1/cohorts", {**body, PLANTED: 1}),
        ("/v1/forget-requests", {"subjects": [{"value": PLANTED, "type": "email"}]}),
        ("/v1/forget-requests", {"subjects": [{"value": PLANTED}], "record_ids": [PLANTED]}),
        ("/v1/forget-requests", {"record_ids": [PLANTED]}),
        ("/v1/forget-requests", {"subjects": [{"value": PLANTED, "format": "md5"}]}),
        ("/v1/forget-requests", {"subjects": [{"value": "a", "type": PLANTED}]}),
        ("/v1/forget-requests", {"subjects": PLANTED}),
        ("/v1/forget-requests", {PLANTED: PLANTED}),
        (f"/v1/models/{PLANTED}/predict", {"instances": PLANTED}),
        *(("/v1/forget-requests/dry-run", asked) for asked in DRY_RUNS),
        ("/v1/holds", {"subject": {"value": PLANTED, "type": "email"}, "reason": "case 17"}),
        ("/v1/holds", {"subject": {"value": "other"}, "reason": PLANTED}),
        ("/v1/holds", {"subject": PLANTED, "reason": "case 17"}),
        ("/v1/suppressions/withdrawals", {"subjects": [{"value": PLANTED, "type": "email"}]}),
        ("/v1/suppressions/withdrawals", {"subjects": [{"value": PLANTED, "format": "sha1"}]}),
    ]
    uploads = [
        npz(x=x, y=y, subject=who, id=who),
        npz(x=x, y=y, subject=who, id=who),
        npz(x=x, y=y, subject=np.array([PLANTED, PLANTED]), id=np.array(["new", "new"])),
        npz(x=x, y=y, subject=np.array([PLANTED + "\n\x00.", "a"])),
        npz(x=x, y=y, **{PLANTED: y}),
        PLANTED.encode(),
    ]
    answers = [site.upload(upload, params={"subject_type": "email"}) for upload in uploads]
    answers += [site.upload(uploads[0], params={"subject_type": PLANTED}), site.upload(uploads[0], PLANTED)]
    answers += [site.upload(uploads[0], site.world.core_id), site.upload(uploads[0], user, headers={"X-Who": PLANTED})]
    answers += [site.client.post(path, json=content) for path, content in posts]
    for cohort in (user, site.world.core_id):
        answers.append(
            site.client.post(
                f"/v1/cohorts/{cohort}/corrections?subject_type=email",
                content=uploads[0],
                headers={"Content-Type": "application/octet-stream"},
            )
        )
    request = answers[len(answers) - len(posts) + 1].json()["id"]
    answers += [
        site.client.get(path, params={"who": PLANTED})
        for path in (f"/v1/forget-requests/{request}", f"/v1/forget-requests/{PLANTED}", f"/{PLANTED}", "/v1/jobs")
    ]
    answers.append(site.client.get("/v1/forget-requests", params={"state": PLANTED}))
    answers.append(site.client.get("/v1/forget-requests", params={"cursor": PLANTED}))
    answers.append(site.client.post(f"/v1/forget-requests/{request}/extension", json={"reason": PLANTED}))
    answers.append(site.client.put("/v1/tenant", json={"time_zone": PLANTED}))
    answers.append(site.client.post("/v1/keys", json={"label": "k", "scopes": [PLANTED]}))
    named = {"subjects": [{"value": PLANTED, "type": "email"}]}
    for key in (PLANTED, f'"{PLANTED}"', f'"{PLANTED}"'):
        answers.append(site.client.post("/v1/forget-requests", json=named, headers={"Idempotency-Key": key}))
    answers.append(site.client.get("/v1/jobs", params={"limit": PLANTED}))
    answers.append(site.client.request(PLANTED.upper().replace("@", ""), "/v1/jobs"))
    answers.append(site.client.get("/v1/me", headers={"Authorization": f"Bearer {PLANTED}"}))
    for answer in answers:
        yield answer.status_code, answer.text


@pytest.mark.parametrize(
    ("raised", "status"),
    [(KeyError(PLANTED), 500), (OperationalError(PLANTED, {"who": PLANTED}, Exception(PLANTED)), 503)],
)
def test_unexpected_errors_keep_their_words_to_themselves(
    site: Site, logged: io.StringIO, monkeypatch: pytest.MonkeyPatch, raised: Exception, status: int
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise raised

    monkeypatch.setattr(catalog, "list_cohorts", fail)
    answer = site.client.get("/v1/cohorts")
    problem = answer.json()
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert "planted" not in answer.text
    assert "Traceback" not in answer.text
    assert ("retry-after" in answer.headers) == (status == 503)
    if status == 500:
        assert problem["request_id"] in logged.getvalue()
    assert type(raised).__name__ in logged.getvalue()
    assert "cohorts.py" in logged.getvalue()  # where it was raised
    assert not names_planted(logged.getvalue().encode())


def test_libraries_logging_an_exception_do_not_repeat_it(logged: io.StringIO) -> None:
    def log_failure(message: str) -> None:
        try:
            raise ValueError(PLANTED)
        except ValueError:
            logging.getLogger("uvicorn.error").exception(message)

    log_failure("something else")
    assert "something else" in logged.getvalue()
    assert "ValueError" in logged.getvalue()
    log_failure(UVICORN_CRASH)
    assert UVICORN_CRASH.strip() not in logged.getvalue()
    logging.getLogger("uvicorn.access").info("GET /?who=%s", PLANTED)
    assert not names_planted(logged.getvalue().encode())


def test_json_lines_are_json(site: Site) -> None:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    stream = io.StringIO()
    configure_logging("INFO", "json", stream)
    try:
        site.client.get("/v1/me")
    finally:
        structlog.reset_defaults()
        root.handlers = handlers
        root.setLevel(level)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    (line,) = [line for line in lines if line["event"] == "request"]
    assert (line["method"], line["route"], line["status"], line["level"]) == ("GET", "/v1/me", 200, "info")
