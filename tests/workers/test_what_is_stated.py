"""What events and certificates may name: every field is listed here, so that nobody adds one without thinking."""

from __future__ import annotations

import base64
import json
from typing import Any

from sqlalchemy import select
from support.world import NewWorld, World, person

from ledger import certificates
from ledger.tables import Event

PEOPLE = [person(f"person-{i}") for i in range(7)]


def forgotten(new_world: NewWorld, database_url: str | None = None) -> tuple[World, str]:
    """Return a trained service that has forgotten one of them, and the id of that request."""
    world = new_world(database_url)
    world.upload(*PEOPLE)
    world.register()
    world.work()
    request_id = world.forget(PEOPLE[-1].name)
    world.work()
    return world, request_id


def test_events_name_only_facts_that_are_listed_here(new_world: NewWorld, database_url: str) -> None:
    """Whoever adds a fact to an event must think about what it tells of the forgotten."""
    world, _ = forgotten(new_world, database_url)
    allowed = {"v", "tenant", "kind", "subject", "at", "cohort_kind", "cohort", "records", "core_cohort", "core"}
    allowed |= {"selector", "regulation", "due_at", "seq", "outcome", "model", "number", "anchor", "checks"}
    allowed |= {"weights", "statistics", "removed", "solved", "gone", "unserved"}
    allowed |= {"certificate", "days"}  # a digest of salted commitments, random ids and times; of a retention period
    with world.ledger.database.read() as tx:
        bodies = [json.loads(body) for body in tx.session.execute(select(Event.body)).scalars()]
    assert {name for body in bodies for name in body} <= allowed


def test_certificates_state_only_fields_that_are_listed_here(new_world: NewWorld) -> None:
    """Whoever adds a field to a certificate must think about what it tells of the forgotten.

    Apart from salted commitments, two requests for different people differ in random ids and times only.
    """
    world, request_id = forgotten(new_world)
    another = world.forget(PEOPLE[0].name)
    world.work()
    first, second = (stated(world, each) for each in (request_id, another))
    assert fields(first) == fields(second) == ALLOWED
    differing = {name for name, value in first.items() if second[name] != value}
    salted = {"subject.digest.hmac-sha256", "models.weights_commitment", "models.statistics_commitment"}
    times = {name for name in differing if name.endswith(("_at", ".since", ".until", "_after"))}
    assert differing - times == {"subject.name", "models.version", "request.id", "commitments.named", *salted}


def stated(world: World, request_id: str) -> dict[str, list[Any]]:
    """Every value of a certificate, under the path of its field."""
    with world.ledger.database.read() as tx:
        envelope = certificates.get(tx, world.tenant_id, request_id)
    statement = json.loads(base64.b64decode(json.loads(envelope)["payload"]))
    found: dict[str, list[Any]] = {}

    def walk(path: str, value: Any) -> None:
        if isinstance(value, dict):
            for name, inner in value.items():
                walk(f"{path}.{name}", inner)
        elif isinstance(value, list):
            for inner in value:
                walk(path, inner)
        else:
            found.setdefault(path, []).append(value)

    walk("", statement["predicate"])
    walk(".subject", statement["subject"])
    return {path.removeprefix("."): values for path, values in found.items()}


def fields(values: dict[str, list[Any]]) -> set[str]:
    return set(values)


ALLOWED = {
    # constants of this program
    "adversary", "assumptions", "not_covered", "bounds.basis", "bounds.definition", "bounds.output_bound.unit",
    "bounds.state_bound.unit", "code.modules", "code.package", "code.sha256", "code.version", "commitments.how_named",
    "commitments.how_versions", "revocation.certificates", "revocation.keys",
    # pass or fail, with how it was found
    *(f"facts.{fact}.{part}" for fact in ("removed", "solved", "gone", "unserved") for part in ("holds", "evidence")),
    "models.checks.transition", "models.checks.residual", "outcome",
    # constants of the model's registration, and of its public part
    *(f"models.{name}" for name in (
        "model", "architecture", "feature_map", "width", "alpha", "mu", "method", "noise", "sigma", "kappa",
        "exposure_budget", "bound_by", "core_origin", "public_digest", "digests.core", "digests.map",
        "digests.input_spec", "checks.residual_budget", "solver_fingerprint",
    )),
    # numbers of versions, and what follows from them and from constants
    "models.version", "models.anchor_version", "models.releases", "models.output_bound", "models.state_bound",
    "bounds.output_bound.value", "bounds.state_bound.value", "subject.name",
    # salted commitments
    "models.weights_commitment", "models.statistics_commitment", "subject.digest.hmac-sha256", "commitments.named",
    "commitments.receipts",
    # the request: a random id, its kind, and times
    *(f"request.{name}" for name in (
        "id", "selector", "regulation", "received_at", "due_at", "extended_at", "published_at", "completed_at",
    )),
    "facts.unserved.since", "erased_live_at", "unrecoverable_from_backups_after",
    # what stays
    "retained.what", "retained.purpose", "retained.ends", "retained.until",
}  # fmt: skip
