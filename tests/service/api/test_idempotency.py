"""A request that is sent again with its key is answered again, and done once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, func, select
from support.mentions import mentions
from support.site import Site, open_site
from support.world import NewWorld, person

from ledger import idempotency
from ledger.tables import ApiKey, ForgetRequest, IdempotencyEntry, Tenant
from service.idempotency import Once

AT = "/v1/forget-requests"
ADA: dict[str, Any] = {"subjects": [{"value": "ada@example.org", "type": "email"}]}
COHORT: dict[str, Any] = {
    "name": "a", "kind": "user", "shape": [2], "dtype": "uint8", "class_names": ["a", "b"]
}  # fmt: skip


def send(site: Site, path: str = AT, body: Any = ADA, key: str = '"one"', **headers: str) -> Any:
    return site.client.post(path, json=body, headers={"Idempotency-Key": key, **headers})


def filed(site: Site) -> int:
    with site.world.ledger.database.read() as tx:
        return tx.session.execute(select(func.count()).select_from(ForgetRequest)).scalar_one()


def test_the_same_request_is_answered_again_and_done_once(any_site: Site) -> None:
    site = any_site
    first, second = send(site), send(site)
    assert (first.status_code, filed(site)) == (202, 1)
    assert (second.status_code, second.content) == (first.status_code, first.content)
    for name in ("location", "retry-after", "content-type"):
        assert second.headers[name] == first.headers[name]
    assert send(site, key='"two"').json()["id"] != first.json()["id"]
    assert site.client.post(AT, json=ADA).json()["id"] != first.json()["id"]
    assert filed(site) == 3


def test_a_key_is_one_request_s(any_site: Site) -> None:
    site = any_site
    assert send(site).status_code == 202
    for path, body in ((AT, {"everything": True}), (f"{AT}?x=1", ADA), (f"{AT}/dry-run", ADA)):
        refused = send(site, path, body)
        assert (refused.status_code, refused.json()["type"]) == (422, "/problems/idempotency-key-reused")
        assert not mentions(refused.text, "ada")
    assert filed(site) == 1


@pytest.mark.parametrize("key", ["one", '""', '"a', 'a"', '"a" "b"', '"a";b', '"\\a"', '"' + "x" * 256 + '"'])
def test_a_key_that_is_no_string_is_refused(site: Site, key: str) -> None:
    refused = send(site, key=key)
    assert (refused.status_code, refused.json()["type"]) == (400, "/problems/idempotency-key-unreadable")
    assert filed(site) == 0


def test_two_keys_are_refused(site: Site) -> None:
    two = [("Idempotency-Key", '"a"'), ("Idempotency-Key", '"b"')]
    headers = [*two, ("Authorization", site.client.headers["Authorization"])]
    assert site.client.post(AT, json=ADA, headers=headers).status_code == 400  # type: ignore[arg-type]


def test_what_was_refused_may_be_sent_again_with_its_key(site: Site) -> None:
    twice = [send(site, "/v1/cohorts", COHORT, key='"c1"').status_code, send(site, "/v1/cohorts", COHORT).status_code]
    assert twice == [201, 409]
    assert send(site, "/v1/cohorts", {**COHORT, "name": "b"}).status_code == 201


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (AT, ADA),
        (f"{AT}/dry-run", ADA),
        ("/v1/cohorts", COHORT),
        ("/v1/holds", {"subject": ADA["subjects"][0], "reason": " case 17 "}),
    ],
)
def test_every_address_that_makes_something_replays(any_site: Site, path: str, body: Any) -> None:
    site = any_site
    first = send(site, path, body)
    stored = site.stored()
    assert first.status_code in (201, 202)
    second = send(site, path, body)
    assert (second.status_code, second.content) == (first.status_code, first.content)
    assert second.headers["location"] == first.headers["location"]
    assert site.stored() == stored


def test_models_and_their_generations_replay(site: Site) -> None:
    site.world.upload(person("ada"))
    body = {"name": "m", "core_cohort": site.world.core_id, "user_cohorts": [site.world.user_id], "epochs": 1}
    first = send(site, "/v1/models", body, key='"m"')
    assert first.status_code == 202, first.text
    assert send(site, "/v1/models", body, key='"m"').content == first.content
    site.world.work()
    model = first.json()["model"]["id"]
    path = f"/v1/models/{model}/successor"
    begun = send(site, path, {"seed": 2}, key='"s"')
    assert begun.status_code == 202, begun.text
    assert send(site, path, {"seed": 2}, key='"s"').content == begun.content
    assert send(site, path, {"seed": 2}, key='"t"').status_code == 409
    site.world.work()
    assert site.client.post(f"/v1/models/{model}/cut-over").status_code == 202
    site.world.work()
    back = send(site, f"/v1/models/{model}/rollback", {"to": 1}, key='"r"')
    assert back.status_code == 202, back.text
    assert send(site, f"/v1/models/{model}/rollback", {"to": 1}, key='"r"').content == back.content
    assert len(site.client.get(f"/v1/models/{model}/generations").json()["items"]) == 3


def test_an_api_key_is_shown_once_even_then(any_site: Site) -> None:
    site = any_site
    other = site.client.post("/v1/keys", json={"label": "k", "scopes": ["predict"]}).json()["id"]
    for path, body in (("/v1/keys", {"label": "k", "scopes": ["predict"]}), (f"/v1/keys/{other}/rotate", {})):
        made = send(site, path, body, key=f'"{path}"').json()
        again = send(site, path, body, key=f'"{path}"').json()
        assert made["key"].startswith("lacuna_")
        assert again == {**made, "key": None}
        with site.world.ledger.database.engine.connect() as connection:
            kept = str(connection.execute(IdempotencyEntry.__table__.select()).all())
        assert made["id"] in kept
        assert made["key"] not in kept
    with site.world.ledger.database.read() as tx:
        assert tx.session.execute(select(func.count()).select_from(ApiKey)).scalar_one() == 4


def test_nothing_that_is_kept_names_anybody(any_site: Site) -> None:
    site = any_site
    send(site, key='"key-of-ada"')
    send(site, "/v1/holds", {"subject": ADA["subjects"][0], "reason": "the Miller case"}, key='"h"')
    with site.world.ledger.database.engine.connect() as connection:
        rows = connection.execute(IdempotencyEntry.__table__.select()).all()
    assert len(rows) == 2
    assert not any(mentions(str(rows), word) for word in ("ada", "example.org", "Miller"))
    assert {len(row.key_hmac) for row in rows} == {len(row.fingerprint) for row in rows} == {32}


def test_tenants_may_use_the_same_key(any_site: Site) -> None:
    site = any_site
    other = site.other_tenant()
    theirs = {"Authorization": f"Bearer {site.key('data:write', tenant_id=other)}"}
    ours = send(site, "/v1/cohorts", COHORT).json()
    assert send(site, "/v1/cohorts", COHORT, **theirs).json()["id"] != ours["id"]
    with site.world.ledger.database.read() as tx:
        kept = tx.session.execute(select(IdempotencyEntry.key_hmac, IdempotencyEntry.fingerprint)).all()
    assert len({row.key_hmac for row in kept}) == len({row.fingerprint for row in kept}) == 2


def test_a_replay_needs_the_scope_of_the_request(site: Site) -> None:
    send(site)
    assert send(site, Authorization=f"Bearer {site.key('predict')}").status_code == 403


def test_answers_are_kept_for_a_day_and_swept(any_site: Site) -> None:
    site, database = any_site, any_site.world.ledger.database
    first = send(site).json()["id"]
    with database.begin() as tx:
        (entry,) = tx.session.execute(select(IdempotencyEntry)).scalars()
        assert 0 <= tx.now + 86_400_000_000 - entry.expires_at < 60_000_000
        entry.expires_at = tx.now
    second = send(site).json()["id"]
    assert second != first
    assert idempotency.sweep(database) == 0
    with database.begin() as tx:
        (entry,) = tx.session.execute(select(IdempotencyEntry)).scalars()
        entry.expires_at = tx.now
    site.client.app.state.context.housekeeping.tidy()  # type: ignore[attr-defined]  # the application under test
    with database.read() as tx:
        assert tx.session.execute(select(IdempotencyEntry)).first() is None


def test_a_hundred_at_once_are_one_erasure_and_a_hundred_equal_answers(any_site: Site) -> None:
    site = any_site
    site.world.upload(person("ada"), person("bob"))
    site.world.register()
    site.world.work()
    together = threading.Barrier(20)

    def ask(number: int) -> Any:
        if number < 20:
            together.wait()
        return send(site, body={"subjects": [{"value": "ada"}]})

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(ask, range(100)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.content for answer in answers}) == 1
    assert filed(site) == 1
    site.world.work()
    request = site.client.get(f"{AT}/{answers[0].json()['id']}").json()
    assert (request["state"], request["outcome"]) == ("completed", "erased")
    (model,) = site.client.get("/v1/models").json()["items"]
    assert model["active_version"] == 2


def test_a_crash_before_the_end_leaves_nothing_and_one_after_it_replays(
    new_world: NewWorld, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class PowerCut(Exception):
        """Nobody expects this."""

    world = new_world(database_url)
    answer = Once.answer

    def cut(*arguments: Any, **named: Any) -> None:
        answer(*arguments, **named)
        raise PowerCut

    with open_site(world, tmp_path) as site:
        before = site.stored()
        monkeypatch.setattr(Once, "answer", cut)
        assert send(site).status_code == 500
        assert site.stored() == before
        monkeypatch.setattr(Once, "answer", answer)
        context = site.client.app.state.context  # type: ignore[attr-defined]  # the application under test
        whole = context.on_accepted

        def cut_after() -> None:
            raise PowerCut

        object.__setattr__(context, "on_accepted", cut_after)
        assert send(site).status_code == 500  # committed, and nobody was told
        object.__setattr__(context, "on_accepted", whole)
        (listed,) = site.client.get(AT).json()["items"]
        again = send(site)
        assert (again.status_code, again.json()["id"], filed(site)) == (202, listed["id"], 1)


def test_while_the_first_is_being_done_the_second_is_told_so(
    new_world: NewWorld, fresh_postgres_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idempotency, "PATIENCE_MS", 100)
    with open_site(new_world(fresh_postgres_database), tmp_path) as site:
        begun, told = threading.Event(), threading.Event()
        answer = Once.answer

        def slowly(*arguments: Any, **named: Any) -> None:
            begun.set()
            assert told.wait(30)
            answer(*arguments, **named)

        monkeypatch.setattr(Once, "answer", slowly)
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(send, site)
            assert begun.wait(30)
            second = send(site)
            told.set()
            assert first.result().status_code == 202
        assert (second.status_code, second.json()["type"]) == (409, "/problems/in-progress")
        assert second.headers["retry-after"] == "1"
        monkeypatch.setattr(Once, "answer", answer)
        assert send(site).content == first.result().content


def test_without_a_key_nothing_is_kept(site: Site) -> None:
    statements: list[str] = []
    event.listen(site.world.ledger.database.engine, "before_cursor_execute", lambda *said: statements.append(said[2]))
    assert site.client.post(AT, json=ADA).status_code == 202
    assert statements
    assert not any("idempotency" in statement for statement in statements)
    with site.world.ledger.database.read() as tx:
        assert tx.session.execute(select(Tenant.id)).first()
