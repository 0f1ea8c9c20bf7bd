"""What one request's page tells: its steps in words, what it did to each model, the four facts, its certificate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from evidence.dsse import IN_TOTO
from evidence.errors import EvidenceError
from evidence.key_list import read_key, signer_of
from ledger import requests, signing_keys, timeline
from ledger.database import Transaction
from ledger.keys import KeyRing
from ledger.tables import ForgetRequest, ModelVersion
from service.dashboard import views

FACTS = (
    ("removed", "the records are out of the statistics"),
    ("solved", "the weights are those of the statistics without them"),
    ("gone", "records, old statistics and old weights are destroyed"),
    ("unserved", "nobody answers from an old version"),
)
_WORDS = {
    "forget.accepted": "Accepted: stored durably, the deadline runs",
    "forget.resolved": "Found out which records are concerned",
    "forget.published": "Every model answers from a version without them",
    "forget.purging": "Began to destroy what was left behind",
    "forget.completed": "Read back and completed",
    "forget.cancelled": "Withdrawn",
    "forget.stuck": "A job of it has failed; somebody must look",
    "forget.extended": "Deadline extended",
    "version.published": "Version published, all checks passed",
    "version.destroyed": "Old version destroyed",
}
_SHOWN = ("selector", "regulation", "seq", "outcome", "number")


@dataclass(frozen=True, slots=True)
class Moment:
    """An event in words, with a few of its facts, its number, and its place in the log (None until it has one)."""

    at: int
    words: str
    facts: Sequence[tuple[str, str]]
    event_id: int
    position: int | None


@dataclass(frozen=True, slots=True)
class Side:
    """A version before or after an erasure; what was measured is None once it is destroyed."""

    number: int
    state: str
    accuracy: float | None
    records: int | None


@dataclass(frozen=True, slots=True)
class Change:
    """What a request did to one model."""

    model_id: str
    model: str
    before: Side | None
    after: Side | None


@dataclass(frozen=True, slots=True)
class Story:
    """Everything that a request's page tells. facts: name, meaning, whether it holds (None: not yet), evidence.

    damaged: there is a certificate, but no key of this service signed what now stands in it; then it is not shown.
    """

    row: views.RequestRow
    steps: Sequence[tuple[str, str, str]]
    moments: Sequence[Moment]
    changes: Sequence[Change]
    facts: Sequence[tuple[str, str, bool | None, str]]
    certificate: dict[str, Any] | None
    damaged: bool

    @property
    def follow(self) -> bool:
        """Whether the ledger may still add to it: it is open, or the log has not caught up with it."""
        return self.row.open or any(moment.position is None for moment in self.moments)


def story(tx: Transaction, ring: KeyRing, tenant_id: str, request_id: str) -> Story:
    """Gather it. Raises NotFound."""
    row = requests.get(tx, tenant_id, request_id)
    envelope = requests.certificate(tx, tenant_id, row.id)
    damaged = envelope is not None and not _is_signed(tx, ring, envelope)
    certificate = None if damaged else views.certificate(envelope)
    transitions = timeline.transitions(tx, row.id)
    return Story(
        row=views.request_row(row, tx.now),
        steps=views.steps(row),
        moments=[_moment(entry) for entry in _entries(tx, tenant_id, row, transitions)],
        changes=[Change(each.model.id, each.model.name, _side(each.before), _side(each.after)) for each in transitions],
        facts=[_fact(certificate, name, words) for name, words in FACTS],
        certificate=certificate,
        damaged=damaged,
    )


def _is_signed(tx: Transaction, ring: KeyRing, envelope: bytes) -> bool:
    keys = [read_key(key.pem()) for key in signing_keys.known(tx, ring)]
    try:
        signer_of(envelope, keys, payload_type=IN_TOTO)
    except EvidenceError:
        return False
    return True


def _entries(
    tx: Transaction, tenant_id: str, row: ForgetRequest, transitions: Sequence[timeline.Transition]
) -> list[timeline.Entry]:
    """Return the request's events, and those of the versions that came and went because of it."""
    told = {row.id: ""}
    for each in transitions:
        if each.after is not None:
            told[each.after.id] = "version.published"
            if each.before is not None:
                told[each.before.id] = "version.destroyed"
    found = timeline.about(tx, tenant_id, told)
    return [entry for entry in found if entry.subject == row.id or entry.kind == told[entry.subject]]


def _moment(entry: timeline.Entry) -> Moment:
    facts = [(name, str(entry.facts[name])) for name in _SHOWN if name in entry.facts]
    return Moment(entry.at, _WORDS.get(entry.kind, entry.kind), facts, entry.event_id, entry.position)


def _side(version: ModelVersion | None) -> Side | None:
    if version is None:
        return None
    measured = version.measured or {}
    return Side(version.number, version.state, measured.get("accuracy"), measured.get("records"))


def _fact(certificate: dict[str, Any] | None, name: str, words: str) -> tuple[str, str, bool | None, str]:
    if certificate is None or name not in certificate["facts"]:
        return name, words, None, ""
    fact = certificate["facts"][name]
    return name, words, bool(fact["holds"]), str(fact["evidence"])
