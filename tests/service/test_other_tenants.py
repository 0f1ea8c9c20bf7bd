"""What another tenant has is not there: asked for it, every address answers as for an id that nobody has.

The addresses come from the description, so a new one is asked without a line here; a new kind of id needs one in
`Things`. Instead of a clock, which a busy machine makes useless, the questions to the database are compared: what is
asked takes the same time, as far as this process decides it.
"""

from __future__ import annotations

import re
import secrets
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import event
from support.site import NPZ, Site, npz, open_site
from support.world import make_world, person

from ledger import core_imports
from ledger.core_imports import NewCore
from ledger.tenants import SCOPES
from service.auth import is_guarded

NOT_IDS = {"number"}  # of a version: small, and nothing by itself
PASSING = {"date", "x-request-id", "ratelimit", "ratelimit-policy"}
NEEDED = {"If-Match": '"0"', "Upload-Offset": "0"}


BODIES = {"/v1/models/{model_id}/rollback": {"to": 1}}
"""Of addresses whose description has no example of a body."""


@dataclass
class Things:
    """One of each thing that has an id, of the site's own tenant; by the names that addresses give to them."""

    ids: dict[str, str]
    number: str

    @classmethod
    def made(cls, site: Site) -> Things:
        """Make them: by the interface where that can be, by the ledger where it takes files."""
        world, client = site.world, site.client
        world.upload(person("ada"), person("bob"))
        model = world.register()
        world.work()
        request = world.forget("ada")
        world.work()

        def post(path: str, **body: Any) -> str:
            answer = client.post(f"/v1/{path}", json=body)
            assert answer.is_success, answer.text
            return str(answer.json()["id"])

        core = NewCore("mlp", leaky=False, shape=(6,), outputs=3, attested_by="data protection officer")
        webhook = post("webhooks", url="https://hooks.example.org/", label="desk")
        ids = {
            "cohort_id": world.user_id,
            "model_id": model,
            "name": model,
            "request_id": request,
            "key_id": post("keys", label="narrow", scopes=["predict"]),
            "hold_id": post("holds", subject={"value": "bob"}, reason="a case"),
            "upload_id": post(f"cohorts/{world.user_id}/uploads", format="npz"),
            "import_id": core_imports.store(world.ledger, world.tenant_id, core, b"weights", parameters=1).id,
            "webhook_id": webhook,
            "delivery_id": post(f"webhooks/{webhook}/ping"),
            "job_id": str(client.get("/v1/jobs").json()["items"][0]["id"]),
        }
        return cls(ids, str(world.active().number))

    def strangers(self) -> dict[str, str]:
        """Return ids of the same forms that nobody has."""
        return {name: "9" * 9 if value.isdigit() else secrets.token_hex(16) for name, value in self.ids.items()}


@dataclass
class Apart:
    """A site, what its tenant has, and the key of another tenant that may do everything there."""

    site: Site
    things: Things
    headers: dict[str, str]
    description: dict[str, Any]

    def operations(self, *, with_ids: bool) -> list[tuple[str, str]]:
        """Return every guarded method and path that has an id in it, or has none."""
        found = []
        for path, verbs in self.description["paths"].items():
            if is_guarded(path) and bool(names(path)) == with_ids:
                found += [(verb.upper(), path) for verb in verbs]
        return found

    def body(self, method: str, path: str) -> dict[str, Any]:
        """Return a body that is right in form, as the description's example has it."""
        described = self.description["paths"][path][method.lower()].get("requestBody")
        if described is None:
            return {}
        kind, content = next(iter(described["content"].items()))
        if kind == "application/json":
            return {"json": BODIES.get(path) or self._example(content["schema"])}
        return {"content": npz() if kind == NPZ else b"0123", "headers": {"Content-Type": kind}}

    def _example(self, schema: dict[str, Any]) -> Any:
        if "$ref" in schema:
            schema = self.description["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        return schema["examples"][0] if "examples" in schema else {}

    def ask(self, method: str, path: str, ids: dict[str, str], **changes: Any) -> tuple[Answer, list[str]]:
        """Ask as the other tenant; return the answer, and what the database was asked for it."""
        address = re.sub(r"\{(\w+)\}", lambda found: (ids | {"number": self.things.number})[found[1]], path)
        sent = self.body(method, path) | changes
        headers = self.headers | NEEDED | sent.pop("headers", {})
        asked: list[str] = []

        def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
            if "AnyIO" in threading.current_thread().name:  # not what threads do besides
                asked.append(statement)

        engine = self.site.world.ledger.database.engine
        event.listen(engine, "before_cursor_execute", note)
        try:
            answer = self.site.client.request(method, address, headers=headers, **sent)
        finally:
            event.remove(engine, "before_cursor_execute", note)
        kept = {name: value for name, value in answer.headers.items() if name not in PASSING}
        body = answer.text.replace(answer.headers["x-request-id"], "its id")
        return Answer(answer.status_code, kept, body), asked


@dataclass(frozen=True)
class Answer:
    """What can be seen of an answer, without what passes: times, counts and the request's own id."""

    status: int
    headers: dict[str, str]
    body: str


def names(path: str) -> list[str]:
    """Return the names of the ids in an address."""
    return [name for name in re.findall(r"\{(\w+)\}", path) if name not in NOT_IDS]


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Apart]:
    folder = tmp_path_factory.mktemp("apart")
    world = make_world(folder, f"sqlite:///{folder / 'ledger.sqlite'}", core_people=6)
    with closing(world.ledger), open_site(world, folder) as site:
        things = Things.made(site)
        key = site.key(*SCOPES, tenant_id=site.other_tenant())
        yield Apart(site, things, {"Authorization": f"Bearer {key}"}, site.client.get("/openapi.json").json())


def test_there_is_one_of_each_thing(apart: Apart) -> None:
    """A new kind of id in an address needs a thing here; and all of them are there for their own tenant."""
    named = {name for path in apart.description["paths"] if is_guarded(path) for name in names(path)}
    assert named == set(apart.things.ids)
    for path in ("cohorts/{cohort_id}", "models/{model_id}", "forget-requests/{request_id}", "keys/{key_id}"):
        assert apart.site.client.get("/v1/" + path.format(**apart.things.ids)).status_code == 200
    for path in ("holds/{hold_id}", "uploads/{upload_id}", "core-imports/{import_id}", "jobs/{job_id}"):
        assert apart.site.client.get("/v1/" + path.format(**apart.things.ids)).status_code == 200
    path = "webhooks/{webhook_id}/deliveries/{delivery_id}".format(**apart.things.ids)
    assert apart.site.client.get(f"/v1/{path}").status_code == 200
    assert apart.site.client.get("/v2/models/{name}".format(**apart.things.ids)).status_code == 200


def test_another_tenants_ids_are_answered_as_ids_that_nobody_has(apart: Apart) -> None:
    operations = apart.operations(with_ids=True)
    assert len(operations) > 40
    before, wrong = apart.site.stored(), []
    for method, path in operations:
        apart.ask(method, path, apart.things.strangers())  # what is done once per process is done
        nobodys = apart.ask(method, path, apart.things.strangers())
        theirs = apart.ask(method, path, apart.things.ids)
        if theirs[0].status != 404 or not theirs[1] or theirs != nobodys:
            wrong.append(
                (method, path, theirs[0].status, theirs[0].body, theirs[0] == nobodys[0], theirs[1] == nobodys[1])
            )
    assert not wrong
    assert apart.site.stored() == before


@pytest.mark.parametrize("path", ["/v1/forget-requests", "/v1/forget-requests/dry-run"])
def test_another_tenants_cohort_in_a_body_is_one_that_nobody_has(apart: Apart, path: str) -> None:
    def body(cohort: str) -> dict[str, Any]:
        return {"everything": True, "cohorts": [cohort]}

    nobodys = apart.ask("POST", path, {}, json=body(secrets.token_hex(16)))
    theirs = apart.ask("POST", path, {}, json=body(apart.things.ids["cohort_id"]))
    assert theirs[0].status == 404
    assert theirs == nobodys


def test_another_tenants_cohorts_teach_no_model(apart: Apart) -> None:
    def body(core: str, user: str) -> dict[str, Any]:
        return {"name": "m", "core_cohort": core, "user_cohorts": [user]}

    world = apart.site.world
    nobodys = apart.ask("POST", "/v1/models", {}, json=body(secrets.token_hex(16), secrets.token_hex(16)))
    theirs = apart.ask("POST", "/v1/models", {}, json=body(world.core_id, world.user_id))
    assert theirs[0].status == 404
    assert theirs == nobodys


def test_lists_and_everything_else_without_an_id_show_nothing_of_another_tenant(apart: Apart) -> None:
    for method, path in apart.operations(with_ids=False):
        if method != "GET" or path == "/v1/events":
            continue
        answer = apart.site.client.get(path, headers=apart.headers)
        assert answer.status_code in (200, 400, 404, 422), (path, answer.text)
        assert not [name for name, value in apart.things.ids.items() if len(value) > 9 and value in answer.text], path
