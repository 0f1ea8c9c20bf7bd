"""What the pages show, computed from the ledger's rows: deadlines, durations, accuracies, steps."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median
from typing import Any

from ledger import catalog, certificates, versions
from ledger.database import Transaction
from ledger.requests import OPEN
from ledger.tables import ForgetRequest, Model

DAY_US = 86_400_000_000
PLENTY_DAYS, FEW_DAYS = 10, 5
STEPS = (
    ("accepted", "stored durably, deadline running"),
    ("scrubbing", "statistics and weights computed without the records"),
    ("published", "new versions answer"),
    ("purging", "stored records, old weights and statistics destroyed"),
    ("completed", "read back, certified"),
)


@dataclass(frozen=True, slots=True)
class RequestRow:
    """A forget request with its deadline: whole days left, and how urgent that is (plenty, few, urgent, over)."""

    row: ForgetRequest
    open: bool
    days_left: int
    urgency: str
    took_us: int | None
    certified: bool


@dataclass(frozen=True, slots=True)
class Summary:
    """The figures at the top. median_us: from acceptance to certificate, over the newest requests that have one."""

    open: int
    failed: int
    urgency: str
    completed: int
    median_us: int | None


@dataclass(frozen=True, slots=True)
class ModelCard:
    """A model with what was measured on its living version; accuracy is from 0 to 1, spent: of its exposure budget."""

    model: Model
    number: int | None
    accuracy: float | None
    records: int | None
    seconds: float | None
    cohorts: int
    spent: float | None


def request_row(row: ForgetRequest, now: int) -> RequestRow:
    """Return a request as it is shown at `now` (UTC microseconds)."""
    is_open = row.state in OPEN
    days = (row.due_at - now) // DAY_US
    return RequestRow(
        row=row,
        open=is_open,
        days_left=days,
        urgency=urgency(days) if is_open else "over",
        took_us=row.completed_at - row.received_at if row.completed_at is not None else None,
        certified=row.state == "completed" and row.outcome not in ("no_match", "on_hold"),
    )


def urgency(days_left: int) -> str:
    """Return plenty (10 days or more), few (5 to 9) or urgent."""
    return "plenty" if days_left >= PLENTY_DAYS else "few" if days_left >= FEW_DAYS else "urgent"


def median_took(rows: Sequence[RequestRow]) -> int | None:
    """Return how long the completed ones of these requests took, the median in microseconds; None without any."""
    took = [row.took_us for row in rows if row.certified and row.took_us is not None]
    return int(median(took)) if took else None


def model_card(tx: Transaction, model: Model) -> ModelCard:
    """Return a model with its living version's measurements."""
    version = versions.active(tx, model.id)
    measured: dict[str, Any] = (version.measured if version is not None else None) or {}
    return ModelCard(
        model=model,
        number=None if version is None else version.number,
        accuracy=measured.get("accuracy"),
        records=measured.get("records"),
        seconds=measured.get("seconds"),
        cohorts=len(catalog.user_cohorts(tx, model.id)),
        spent=measured.get("exposure"),
    )


def constants(model: Model) -> list[tuple[str, str]]:
    """Return what was fixed when the model was registered. All of it is public."""
    return [
        ("architecture", model.architecture),
        ("feature map", f"{model.feature_map}, {model.width or '?'} features"),
        ("alpha (target of the right class)", f"{model.alpha:g}"),
        ("mu (ridge)", certificates.ridge(model)),
        ("solver", model.solver),
        ("capacity", f"{model.capacity:,} records"),
        ("digest of the public part", model.public_digest or "not trained yet"),
    ]


def steps(row: ForgetRequest) -> list[tuple[str, str, str]]:
    """Return each step's name, its meaning and whether it is past, now or to come."""
    names = [name for name, _ in STEPS]
    if row.state not in names:  # failed or cancelled: we know only what has certainly been reached
        reached = 2 if row.published_at is not None else 0
        return [(name, words, "past" if place <= reached else "coming") for place, (name, words) in enumerate(STEPS)]
    at = names.index(row.state)
    done = row.state == "completed"
    return [
        (name, words, "past" if place < at or done else "now" if place == at else "coming")
        for place, (name, words) in enumerate(STEPS)
    ]


def certificate(envelope: bytes | None) -> dict[str, Any] | None:
    """Return the predicate that a certificate states, or None without one."""
    if envelope is None:
        return None
    statement = json.loads(base64.b64decode(json.loads(envelope)["payload"]))
    predicate: dict[str, Any] = statement["predicate"]
    return predicate


def moment(micros: int | None) -> str:
    """Return a time as 2026-11-01 12:00:05 (UTC), or a dash."""
    return "–" if micros is None else datetime.fromtimestamp(micros / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S")


def day(micros: int | None) -> str:
    """Return a time's day, or a dash."""
    return moment(micros)[:10]


def duration(micros: int | None) -> str:
    """Return a length of time in the unit that a person would choose."""
    if micros is None:
        return "–"
    seconds = micros / 1e6
    if seconds < 120:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 172_800 else f"{seconds / 86_400:.0f} days"


def short(identifier: str | None) -> str:
    """Return the beginning of a long identifier."""
    return "–" if identifier is None else identifier[:8]


def percent(share: float | None) -> str:
    """Return a share of 1 in per cent."""
    return "–" if share is None else f"{100 * share:.1f} %"
