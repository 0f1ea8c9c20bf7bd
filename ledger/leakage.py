"""What the versions that a client has seen tell about the forgotten cohort that they expose most, in nats.

A forgotten cohort is what one forget request removed. Of each, two things are added up:

* **bound**: kappa for every version seen that was solved iteratively after the removal (docs/theory.md, section 5).
  Exact statistics tell nothing, so theirs is 0.
* **differencing**: once a client has seen a version with the records and one without them, what the versions with them
  tell about a record (docs/theory.md, section 8). Without noise that is infinite. With an exposure budget it is at most
  that budget for any one record, over all versions. Noise without a budget has no account, so it counts as infinite.

Only constants of the registration enter, never what was measured: the numbers are shown to clients, and decide whether
they are answered. Answers are bounded by the weights that they come from, however they are rounded or chosen.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from sqlalchemy import Select, func, select

from ledger import sightings
from ledger.database import Transaction
from ledger.sightings import Seen
from ledger.tables import ForgetRequest, Generation, LeakageBudget, Model, RequestHolder

NOTHING_SEEN = "Nothing: no answer was given yet."
NOBODY = "Nothing: no version that was seen has forgotten anybody, or is about to."
EXACT = (
    "The bound is 0: statistics are exact integers, so versions that were solved from them after a removal equal, byte "
    "for byte, those of a service that never saw the records."
)
ITERATIVE = "The bound is kappa for every version seen that was solved after the removal."
NO_PAIR = "Differencing is 0: no version with the records was seen beside one without them."
WITHOUT_NOISE = (
    "Differencing is unbounded: versions with and without the records were seen, and those with them were published "
    "without noise, so what the records were can be solved for from the difference."
)
WITHOUT_ACCOUNT = (
    "Differencing counts as unbounded: versions with and without the records were seen, and a model with noise but "
    "without an exposure budget keeps no account of what its versions tell."
)
BUDGETED = (
    "Differencing is at most the exposure budget, for any one record: versions with and without the records were seen, "
    "and no version is published that would take all of them together beyond it."
)
WARN, COARSEN, REFUSE = ACTIONS = ("warn", "coarsen", "refuse")


@dataclass(frozen=True, slots=True)
class Leakage:
    """What was seen, and what it tells at most about `request_id`'s records, the most exposed; infinite: no bound.

    `pairs`: how many pairs of a version with those records and one without them were seen. `why`: sentences.
    """

    versions: tuple[int, ...]
    request_id: str | None
    bound: float
    differencing: float
    pairs: int
    why: tuple[str, ...]

    @property
    def nats(self) -> float:
        """Both together."""
        return self.bound + self.differencing


@dataclass(frozen=True, slots=True)
class _Law:
    """The constants of a generation that its nats follow from; `account` is infinite without noise or budget."""

    kappa: Decimal
    account: float
    noisy: bool


@dataclass(frozen=True, slots=True)
class _Removal:
    """One request's records: versions of `since[model]` up to the change before `seq` held them."""

    request_id: str
    seq: int
    since: Mapping[str, int]

    def is_in(self, version: Seen) -> bool:
        return self.since.get(version.model_id, self.seq) <= version.applied_seq < self.seq


def of_client(tx: Transaction, client_id: str, line_id: str) -> Leakage:
    """Return what a client has learned from the versions of a line that it has seen."""
    return of_versions(tx, line_id, sightings.of_client(tx, client_id, line_id))


def of_versions(tx: Transaction, line_id: str, seen: Sequence[Seen]) -> Leakage:
    """Return what somebody has learned who has seen these versions of a line."""
    if not seen:
        return Leakage((), None, 0.0, 0.0, 0, (NOTHING_SEEN,))
    numbers = tuple(sorted(version.number for version in seen))
    laws = {model.id: _law(model) for model in _models(tx, line_id)}
    worst: Leakage | None = None
    for removal in _removals(tx, line_id, seen):
        told = _about(removal, seen, laws, numbers)
        if worst is None or told.nats > worst.nats:
            worst = told
        if math.isinf(worst.nats):
            break  # nothing is worse
    return worst or Leakage(numbers, None, 0.0, 0.0, 0, (NOBODY,))


def _about(removal: _Removal, seen: Sequence[Seen], laws: Mapping[str, _Law], numbers: tuple[int, ...]) -> Leakage:
    holding = [version for version in seen if removal.is_in(version)]
    after = [version for version in seen if version.applied_seq >= removal.seq]
    bound = sum((laws[version.model_id].kappa for version in after), Decimal(0))
    why = [ITERATIVE if bound else EXACT] if after else []
    pairs = len(holding) * (len(seen) - len(holding))
    if not pairs:
        return Leakage(numbers, removal.request_id, float(bound), 0.0, 0, (*why, NO_PAIR))
    held_by = {version.model_id: laws[version.model_id] for version in holding}.values()
    if any(not law.noisy for law in held_by):
        why.append(WITHOUT_NOISE)
    elif any(math.isinf(law.account) for law in held_by):
        why.append(WITHOUT_ACCOUNT)
    else:
        why.append(BUDGETED)
    differencing = sum(law.account for law in held_by)
    return Leakage(numbers, removal.request_id, float(bound), differencing, pairs, tuple(why))


def _models(tx: Transaction, line_id: str) -> Sequence[Model]:
    query = select(Model).join(Generation, Generation.model_id == Model.id).where(Generation.line_id == line_id)
    return tx.session.execute(query).scalars().all()


def _law(model: Model) -> _Law:
    iterative = model.solver != "exact" and model.kappa is not None
    account = model.exposure_budget if model.noise is not None else None
    return _Law(
        Decimal(repr(model.kappa)) if iterative else Decimal(0),
        math.inf if account is None else account,
        model.noise is not None,
    )


def _removals(tx: Transaction, line_id: str, seen: Sequence[Seen]) -> Iterator[_Removal]:
    """Give the removals that may matter, each once: those after the oldest version seen, and the very first of all.

    Of those before the oldest version seen no version with the records can have been seen, so they tell as much as the
    first of them does.
    """
    mine = select(Generation.model_id).where(Generation.line_id == line_id)
    held = (
        select(RequestHolder.request_id, RequestHolder.model_id, RequestHolder.since_seq, ForgetRequest.seq)
        .join(ForgetRequest, ForgetRequest.id == RequestHolder.request_id)
        .where(RequestHolder.model_id.in_(mine))
        .order_by(ForgetRequest.seq.desc(), RequestHolder.request_id)
    )
    oldest = min(version.applied_seq for version in seen)
    yield from _grouped(tx, held.where(ForgetRequest.seq > oldest))
    first = (
        select(func.min(ForgetRequest.seq))
        .join(RequestHolder, RequestHolder.request_id == ForgetRequest.id)
        .where(RequestHolder.model_id.in_(mine), ForgetRequest.seq <= oldest)
    )
    first_seq = tx.session.execute(first).scalar_one()
    if first_seq is not None:
        yield from _grouped(tx, held.where(ForgetRequest.seq == first_seq))


def _grouped(tx: Transaction, query: Select[str, str, int, int | None]) -> Iterator[_Removal]:
    request_id: str | None = None
    seq, since = 0, dict[str, int]()
    for row in tx.session.execute(query):
        assert row[3] is not None  # only requests that have their place are asked for
        if row[0] != request_id:
            if request_id is not None:
                yield _Removal(request_id, seq, since)
            request_id, seq, since = row[0], row[3], {}
        since[row[1]] = row[2]
    if request_id is not None:
        yield _Removal(request_id, seq, since)


@dataclass(frozen=True, slots=True)
class Judgement:
    """What becomes of an answer: `spent` says that the budget is, `then` what it says to do (None: nothing)."""

    spent: bool
    then: str | None


def judge(tx: Transaction, client_id: str, line_id: str, about_to_see: Seen) -> Judgement:
    """Say what becomes of an answer from this version, which is counted as if it had been seen already."""
    budget = tx.session.get(LeakageBudget, (client_id, line_id))
    if budget is None:
        return Judgement(spent=False, then=None)
    seen = {*sightings.of_client(tx, client_id, line_id), about_to_see}
    spent = of_versions(tx, line_id, sorted(seen, key=lambda version: version.number)).nats > budget.nats
    return Judgement(spent, budget.then if spent else None)


def budget_of(tx: Transaction, client_id: str, line_id: str) -> LeakageBudget | None:
    """Return a client's budget for a line, if it has one."""
    return tx.session.get(LeakageBudget, (client_id, line_id))


def clients_with_budget(tx: Transaction, tenant_id: str, line_id: str) -> Sequence[str]:
    """Return the clients that have a budget for a line."""
    query = select(LeakageBudget.client_id).where(
        LeakageBudget.tenant_id == tenant_id, LeakageBudget.line_id == line_id
    )
    return tx.session.execute(query).scalars().all()


def set_budget(tx: Transaction, tenant_id: str, client_id: str, line_id: str, nats: float, then: str) -> LeakageBudget:
    """Give a client a budget for a line, in the place of the one it had."""
    row = tx.session.get(LeakageBudget, (client_id, line_id), with_for_update=True)
    if row is None:
        row = LeakageBudget(client_id=client_id, line_id=line_id, tenant_id=tenant_id, nats=nats, then=then)
        tx.session.add(row)
    row.nats, row.then = nats, then
    tx.session.flush()
    return row


def drop_budget(tx: Transaction, client_id: str, line_id: str) -> None:
    """Take a client's budget for a line away: it may learn any number of nats. None there: nothing happens."""
    row = tx.session.get(LeakageBudget, (client_id, line_id), with_for_update=True)
    if row is not None:
        tx.session.delete(row)
        tx.session.flush()
