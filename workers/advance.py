"""The job `advance`: bring a model up to the newest change. Training, additions, deletions and recovery are all this.

A crash at any point is followed by the same job, which ends the same way once (docs/flows.md).
"""

from __future__ import annotations

import numpy as np
import torch

from ledger import artifacts, folding, inventory, job_parts, jobs, requests, versions
from ledger.tables import JobPart, Model, ModelVersion
from unlearning.fingerprint import solver_fingerprint
from unlearning.linear.from_rows import features_of
from unlearning.public_model import PublicModel
from unlearning.rows import QuantizedRows
from unlearning.statistics import Statistics
from unlearning.weights import weights_to_bytes
from workers import apart, bounding, checks, exposure_account, models, noising, ridge, rows, solving, summing
from workers.deps import Deps
from workers.errors import CheckFailed
from workers.progress import Progress


def run(deps: Deps, claim: jobs.Claim) -> None:
    """Fold the newest changes into the statistics, solve, check, publish.

    Raises CheckFailed, LeaseLost, PublishConflict, UnlearningError, LedgerError; nothing is published then.
    """
    assert claim.model_id is not None
    started = deps.clock_us()
    database = deps.ledger.database
    upto = requests.resolve_all(database, claim.tenant_id)
    deps.point("advance.resolved")
    with database.read() as tx:
        model = tx.session.get_one(Model, claim.model_id)
        before = versions.active(tx, model.id)
    parts = summing.parts_of(deps, claim)
    if before is None and not parts and summing.split(deps, claim, upto):
        return
    with database.read() as tx:
        after_seq = parts[0].upto if parts else None if before is None else model.applied_seq
        added = folding.added(tx, model.id, after_seq, upto)
        removed = folding.removed(tx, model.id, after_seq, upto)
    if before is not None and not added and not removed:
        with database.begin() as tx:
            versions.confirm(tx, claim, before, started_from=model.applied_seq, upto=upto)
            jobs.finish(tx, claim)
        return
    public = models.load_public(deps, model.id)
    statistics = _fold(deps, claim, public, _base(deps, public, model, before, parts), added, removed)
    deps.point("advance.folded")
    mu = ridge.choose(deps.choose_mu, model, public, statistics)
    lost = claim.attempts >= apart.ALONE_AFTER
    solved = solving.solve(deps, model, public, statistics, mu, before=before, upto=upto, without_rows=lost)
    weights = noising.published(deps, model, public, statistics, solved.weights)
    deps.point("advance.solved")
    candidate = _write(deps, claim, model, statistics, solved.weights, weights, mu, upto)
    deps.point("advance.written")
    checked = _check(deps, claim, model, public, before, candidate)
    measured: dict[str, object] = {
        "records": checked.statistics.count,
        "accuracy": _accuracy(deps, model, public, weights),
        "seconds": round((deps.clock_us() - started) / 1e6, 3),
    }
    if model.mu is None:
        measured["mu"] = mu
    if model.noise is not None:
        measured |= {"nats": checked.nats, "fell_back": solved.fell_back}
    if model.exposure_budget is not None:
        spent = exposure_account.account(deps, model, public, before, checked.statistics, solved.weights, upto)
        measured[exposure_account.KEY] = spent
    deps.point("advance.checked")
    with database.begin() as tx:
        bound = bounding.of_next_version(tx, model)
        version = versions.publish(tx, claim, _new_version(model, public, before, candidate, measured, bound))
        job_parts.collect(tx, claim)
        jobs.finish(tx, claim, {"version": version.number})
        deps.point("advance.publishing")
    deps.point("advance.published")
    if parts:
        inventory.delete_doomed(database, deps.ledger.objects, claim.tenant_id)


def _base(
    deps: Deps, public: PublicModel, model: Model, before: ModelVersion | None, parts: list[JobPart]
) -> Statistics:
    """Return what the changes are folded into: the active version's statistics, or what parts have summed."""
    if before is not None:
        return models.load_statistics(deps.ledger, before)
    return summing.merged(deps, model.id, public, parts)


def _check(
    deps: Deps,
    claim: jobs.Claim,
    model: Model,
    public: PublicModel,
    before: ModelVersion | None,
    candidate: checks.Candidate,
) -> checks.Checked:
    """Check a candidate. One that fails takes what parts have summed with it: the next attempt sums anew."""
    try:
        return checks.check(deps, model, public, before, candidate)
    except CheckFailed:
        with deps.ledger.database.begin() as tx:
            job_parts.collect(tx, claim)
        raise


def _fold(
    deps: Deps,
    claim: jobs.Claim,
    public: PublicModel,
    statistics: Statistics,
    added: list[folding.FeatureRows],
    removed: list[folding.FeatureRows],
) -> Statistics:
    assert claim.model_id is not None
    nobody = QuantizedRows.empty(public.width, public.classes, per_output=public.plan.per_output)
    progress = Progress(deps, claim, note="folding records")
    total, done = max(len(added) + len(removed), 1), 0
    for shards, sign in ((added, 1), (removed, -1)):
        for group in rows.groups(shards):
            found = rows.read(deps.ledger, claim.model_id, public, group)
            change = (found, nobody) if sign > 0 else (nobody, found)
            statistics = deps.fold(statistics, *change, public.plan)
            done += len(group)
            progress(0.8 * done / total)
    return statistics


def _write(
    deps: Deps,
    claim: jobs.Claim,
    model: Model,
    statistics: Statistics,
    solved: solving.Weights,
    weights: solving.Weights,
    mu: float,
    upto: int,
) -> checks.Candidate:
    """Write statistics and published weights, each sealed with a salt of its own; return names and commitments."""
    written = {}
    for kind, body, context in (
        ("statistics", statistics.to_bytes(), artifacts.statistics_context(model.id)),
        ("weights", weights_to_bytes(weights), artifacts.weights_context(model.id)),
    ):
        random = deps.ledger.database.random
        salt = random(artifacts.SALT_SIZE)
        sealed = artifacts.seal_artifact(body, salt=salt, ring=deps.ledger.ring, context=context, random=random)
        name = inventory.write_pending(
            deps.ledger.database, deps.ledger.objects, claim.tenant_id, kind, claim.owner, [sealed]
        )
        written[kind] = (name, artifacts.commitment(salt, body))
    return checks.Candidate(*written["statistics"], *written["weights"], mu, upto, solved, weights)


def _accuracy(deps: Deps, model: Model, public: PublicModel, weights: solving.Weights) -> float | None:
    """Return the share of evaluation records that are classified rightly."""
    evaluation = models.load_evaluation(deps.ledger, model, public)
    if evaluation is None:
        return None
    user_part = features_of(evaluation, public.plan).apply(torch.from_numpy(weights)).numpy()
    logits = public.plan.core_values(evaluation.core_output) + user_part
    return float(np.mean(logits.argmax(axis=1) == evaluation.labels))


def _new_version(
    model: Model,
    public: PublicModel,
    before: ModelVersion | None,
    candidate: checks.Candidate,
    measured: dict[str, object],
    bound: dict[str, object],
) -> versions.NewVersion:
    return versions.NewVersion(
        model_id=model.id,
        started_from=model.applied_seq,
        applied_seq=candidate.upto,
        anchor=before is None,
        weights_object=candidate.weights_object,
        statistics_object=candidate.statistics_object,
        weights_commitment=candidate.weights_commitment,
        statistics_commitment=candidate.statistics_commitment,
        solver_fingerprint=solver_fingerprint()["digest"],
        checks=checks.stated(model, public) | ({"bound": bound} if model.noise is not None else {}),
        measured=measured,
    )
