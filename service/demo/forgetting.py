"""One wish to be forgotten: asked for over HTTP, waited for, certified, and measured before and after."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ledger.dsse import IN_TOTO, verify_envelope
from ledger.errors import SignatureInvalid
from service.client import Json, LacunaClient
from service.demo.answers import Answers, ask
from service.demo.data import Records
from service.demo.deployment import Deployment
from service.demo.running_service import RunningService
from service.demo.traffic import Traffic

ANSWERS_AFTERWARDS = 10
"""Questions asked after the completion, any of which an old version might wrongly answer."""


@dataclass(frozen=True, slots=True)
class Wish:
    """Who or what is to be forgotten: `subjects`, or all digits of `label`."""

    title: str
    subjects: tuple[str, ...] = ()
    label: int | None = None

    def matches(self, records: Records) -> npt.NDArray[np.bool_]:
        """Return which of the records are meant."""
        chosen: npt.NDArray[np.bool_] = (
            np.isin(records.subjects, self.subjects) if self.label is None else records.y == self.label
        )
        return chosen

    def selector(self) -> Mapping[str, Any]:
        """Return what the HTTP interface is told."""
        return {"labels": [self.label]} if self.label is not None else {"subjects": list(self.subjects)}


@dataclass(frozen=True, slots=True)
class Measured:
    """A model's answers to the test digits, and its accuracy on test, forgotten and retained digits (0 to 1)."""

    test_answers: Answers
    test: float
    forgotten: float
    retained: float


@dataclass(frozen=True, slots=True)
class Certified:
    """What the certificate says: bounds in nats on what is left in the weights, and in weights and statistics."""

    valid: bool
    output_nats: float
    state_nats: float
    path: Path


@dataclass(frozen=True, slots=True)
class Forgotten:
    """A fulfilled wish. `seconds`: from the request's acceptance to its certificate, by the service's clock.

    weights_seconds: the part of it that computed, solved and checked the new weights.
    late_versions: which versions answered questions that were asked after the completion was seen.
    """

    wish: Wish
    records: int
    version: int
    seconds: float
    weights_seconds: float
    before: Measured
    after: Measured
    certificate: Certified
    late_versions: frozenset[int]
    answered: int
    refused: int


def measure(deployment: Deployment, test: Records, forgotten: Records, retained: Records) -> Measured:
    """Ask for predictions of everything."""

    def accuracy(records: Records) -> float:
        return ask(deployment.client, deployment.model, records).accuracy(records)

    answers = ask(deployment.client, deployment.model, test)
    return Measured(answers, answers.accuracy(test), accuracy(forgotten), accuracy(retained))


def forget(
    service: RunningService, deployment: Deployment, wish: Wish, test: Records, users: Records, folder: Path
) -> Forgotten:
    """Fulfil a wish on the running service while somebody keeps asking for predictions. Raises what the client does."""
    client = deployment.client
    meant = wish.matches(users)
    gone, kept = users.where(meant), users.where(~meant)
    before = measure(deployment, test, gone, kept)
    with Traffic(service.url, service.key, deployment.model, test.x[:1]) as traffic:
        traffic.wait_for_answers(1, 0.0)
        request = client.forget(**wish.selector())
        done = client.wait_for_request(request["id"])
        seen = time.monotonic()
        traffic.wait_for_answers(ANSWERS_AFTERWARDS, seen)
    after = measure(deployment, test, gone, kept)
    (covered,) = done["models"]
    version = client.version(deployment.model, int(covered["version"]))
    return Forgotten(
        wish=wish,
        records=int(done["records"]),
        version=int(version["number"]),
        seconds=_between(done["received_at"], done["completed_at"]),
        weights_seconds=float(version["measured"]["seconds"]),
        before=before,
        after=after,
        certificate=certified(client, str(done["id"]), folder / f"certificate-{_file_name(wish.title)}.json"),
        late_versions=frozenset(traffic.versions_asked_after(seen)),
        answered=traffic.answered,
        refused=traffic.refused,
    )


def certified(client: LacunaClient, request: str, path: Path) -> Certified:
    """Fetch and save the certificate, and verify it with the service's published keys."""
    envelope = client.certificate(request)
    path.write_bytes(envelope)
    statement = _verified(envelope, client.signing_keys())
    valid = statement is not None and statement["predicate"]["request"]["id"] == request
    bounds = (statement or client.statement(request))["predicate"]["bounds"]
    return Certified(valid, float(bounds["output_bound"]["value"]), float(bounds["state_bound"]["value"]), path)


def _verified(envelope: bytes, keys: Sequence[Json]) -> Json | None:
    for key in keys:
        try:
            statement: Json = json.loads(verify_envelope(envelope, key["public_key_pem"], payload_type=IN_TOTO))
        except SignatureInvalid:
            continue  # it may be another key's
        return statement
    return None


def _between(start: str, end: str) -> float:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()


def _file_name(title: str) -> str:
    return "-".join("".join(c if c.isalnum() else " " for c in title).split())
