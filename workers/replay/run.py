"""A whole replay, from the rows of the ledger to the report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import select

from evidence.key_list import follow, read_keys
from evidence.revocations import gather
from ledger import generations, signing_keys, versions
from ledger.database import Transaction
from ledger.errors import LedgerError, NotFound
from ledger.log import proofs
from ledger.log.verify import LogKey, verify_log
from ledger.tables import Model, ModelVersion, Tenant
from unlearning.errors import UnlearningError
from unlearning.public_model import PublicModel
from workers import models, ridge
from workers.deps import Deps
from workers.errors import KeepsMoving, WorkError
from workers.replay import chain, drawing, requests, stored, weights
from workers.replay.findings import Report

Progress = Callable[[str, float], None]
ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Asked:
    """What the auditor asks for. `keys` is a text: PEM or a list; None: those that the installation names itself.

    `sample`: requests, and shards of records, that are drawn.
    """

    model: str
    tenant: str
    sample: int
    keys: str | None = None
    key_list: str | None = None
    revocations: str | None = None
    checkpoint: str | None = None
    challenge: str = ""


def replay(deps: Deps, asked: Asked, progress: Progress) -> Report:
    """Replay a model. A model that gets a new version meanwhile is begun anew, a few times.

    Raises NotFound; KeepsMoving: it would not stand still; EvidenceError: keys or checkpoint cannot be read.
    """
    for _ in range(ATTEMPTS):
        with deps.ledger.database.read() as tx:
            tenant_id, model = _find(tx, asked)
            before = _state(tx, model)
        report = _once(deps, tenant_id, model, asked, progress)
        with deps.ledger.database.read() as tx:
            if _state(tx, tx.session.get_one(Model, model.id, populate_existing=True)) == before:
                return report
    raise KeepsMoving


def _find(tx: Transaction, asked: Asked) -> tuple[str, Model]:
    """Return the tenant's id and the model that an id or a name stands for. Raises NotFound."""
    tenant_id = tx.session.execute(select(Tenant.id).where(Tenant.name == asked.tenant)).scalar_one_or_none()
    if tenant_id is None:
        raise NotFound("tenant", asked.tenant)
    query = select(Model.id).where(Model.tenant_id == tenant_id, Model.name == asked.model)
    named = tx.session.execute(query).scalar_one_or_none()
    return tenant_id, generations.resolve(tx, tenant_id, named or asked.model)


def _state(tx: Transaction, model: Model) -> tuple[object, ...]:
    """Return what changes when the model, or what it rests on, moves."""
    shards = [(shard.object_name, shard.features, shard.known) for shard in stored.shards_of(tx, model)]
    return model.active_version_id, model.applied_seq, shards


def _once(deps: Deps, tenant_id: str, model: Model, asked: Asked, progress: Progress) -> Report:
    names = list(deps.ledger.objects.names())  # before the rows: see chain.strays
    with deps.ledger.database.read() as tx:
        version = versions.active(tx, model.id)
        report = Report(model.id, None if version is None else version.number)
        trust = _trust(deps, tx, asked)
        _check_log(tx, trust, report, progress)
        events = chain.published(tx, tenant_id)
        report.add("versions", chain.problems(tx, model, events), "rows and events name the same chain")
        report.add("objects", chain.strays(tx, tenant_id, names), f"each of {len(names)} belongs to something")
        shards = stored.shards_of(tx, model)
        seed = drawing.seed_of(trust.checkpoint, asked.challenge)
        _check_requests(deps, tx, tenant_id, trust, events, report, seed, asked.sample)
    if version is None:
        report.add("version", ["the model has no version yet, so there is nothing to replay"], "")
        return report
    drawn = drawing.draw(seed, "shard", [shard.shard_id for shard in shards], asked.sample)
    report.sample["shards"], report.sample["shards_drawn"] = len(shards), len(drawn)
    _check_mathematics(deps, model, version, report, shards, set(drawn), progress)
    return report


def _trust(deps: Deps, tx: Transaction, asked: Asked) -> requests.Trust:
    """Return keys and checkpoint. Raises NotFound: nothing was signed yet; EvidenceError."""
    keys = asked.keys
    if keys is None:
        keys = "".join(key.pem() for key in signing_keys.known(tx, deps.ledger.ring))
    checkpoint = proofs.newest_checkpoint(tx).note if asked.checkpoint is None else asked.checkpoint
    lines = checkpoint.split("\n")
    size = int(lines[1]) if len(lines) > 2 and lines[1].isdigit() and len(lines[1]) < 19 else 0
    return requests.Trust(keys, asked.key_list, asked.revocations, checkpoint, size)


def _check_log(tx: Transaction, trust: requests.Trust, report: Report, progress: Progress) -> None:
    revoked = gather(trust.keys, trust.key_list, trust.revocations)
    keys = read_keys(trust.keys)
    if trust.key_list is not None:
        keys = follow(keys, trust.key_list, revoked=revoked.keys())
    known = [LogKey(key.raw, revoked=key.key_id in revoked) for key in keys]
    found = verify_log(tx, known, since=trust.checkpoint, on_progress=lambda done: progress("verifying the log", done))
    report.add("log", found.findings, f"{found.size} entries, and the checkpoint is one of them")


def _check_requests(
    deps: Deps,
    tx: Transaction,
    tenant_id: str,
    trust: requests.Trust,
    events: chain.Published,
    report: Report,
    seed: bytes,
    count: int,
) -> None:
    population, later = requests.certified(tx, tenant_id, trust.size)
    drawn = drawing.draw(seed, "request", population, count)
    report.sample |= {"seed": seed.hex(), "checkpoint_size": trust.size, "requests": len(population)}
    report.sample |= {"requests_after_checkpoint": later, "drawn": drawn}
    found = requests.without_event(tx, tenant_id)
    left = requests.with_rows_left(tx, drawn)
    for request_id in drawn:
        wrong = requests.problems(tx, tenant_id, request_id, trust, events, clock_skew_us=deps.clock_skew_us)
        if request_id in left:
            wrong.append("rows of records that it removed are there")
        found += [f"request {request_id}: {problem}" for problem in wrong]
    report.add("requests", found, f"{len(drawn)} of {len(population)} drawn, each as its certificate says")


def _check_mathematics(
    deps: Deps,
    model: Model,
    version: ModelVersion,
    report: Report,
    shards: list[stored.Shard],
    drawn: set[str],
    progress: Progress,
) -> None:
    """Check records, features, statistics, ridge, weights and what is stated of them, as far as each can be read."""
    try:
        public = models.load_public(deps, model.id)
    except (LedgerError, WorkError, UnlearningError) as problem:
        report.add("public part", [str(problem)], "")
        return
    report.add("public part", [], "the one that the ledger names")
    with deps.ledger.database.read() as tx:
        report.add("stated", weights.stated_problems(tx, model, public, version), "checks and bounds follow anew")
    summed = stored.add_up(deps, model, public, shards, lambda done: progress("summing stored records", done))
    report.add("rows", summed.problems, f"{summed.records} retained records in {len(shards)} shards")
    chosen = [shard for shard in shards if shard.shard_id in drawn]
    report.add("features", stored.extract_again(deps, public, model.id, chosen), f"made anew for {len(chosen)} shards")
    _check_version(deps, model, version, report, public, summed)


def _check_version(
    deps: Deps, model: Model, version: ModelVersion, report: Report, public: PublicModel, summed: stored.Summed
) -> None:
    statistics = summed.statistics
    try:
        kept = models.load_statistics(deps.ledger, version)
    except (LedgerError, UnlearningError) as problem:
        report.add("statistics", [str(problem)], "")
        kept = None
    if kept is not None and statistics is None:
        report.add("statistics", ["they cannot be summed anew, since rows cannot be read"], "")
    elif kept is not None and statistics is not None:
        same = kept.to_bytes() == statistics.to_bytes()
        wrong = [] if same else ["the stored ones are not the sum over the retained records"]
        report.add("statistics", wrong, "the same bytes, summed anew")
    try:
        stored_weights = models.load_weights(deps.ledger, version)
        basis = statistics if statistics is not None else kept
        if basis is None:
            report.add("weights", ["there are no statistics to solve from"], "")
            return
        mu = ridge.choose(deps.choose_mu, model, public, basis)
        report.add("ridge", weights.ridge_problems(model, version, mu), "the one that the retained records choose")
        problems, how = weights.compare(deps, model, public, basis, stored_weights, mu)
    except (LedgerError, WorkError, UnlearningError) as problem:
        report.add("weights", [str(problem)], "")
        return
    report.add("weights", problems, how)
