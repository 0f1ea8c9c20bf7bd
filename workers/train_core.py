"""The job `train_core`: a model's public part, from its core cohort alone."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np

from ledger import artifacts, core_imports, generations, inventory, jobs
from ledger.sealed import seal
from ledger.tables import Cohort, CoreImport, Model
from unlearning.choose_map import AUTO, Candidate, Fit, choose_map
from unlearning.imported_core import KEEP, ImportedCore
from unlearning.input_spec import InputOptions
from unlearning.public_model import PublicModel, fit_public_model
from unlearning.residual import default_residual_budget
from unlearning.rows import QuantizedRows, pack
from workers import planning, records
from workers.deps import Deps
from workers.errors import NothingToLearn
from workers.progress import Progress


def run(deps: Deps, claim: jobs.Claim) -> None:
    """Train the core or read the imported one, fix every public constant, extract the evaluation cohort's features.

    Ingestion comes next.

    Raises NothingToLearn, UnlearningError, LedgerError.
    """
    assert claim.model_id is not None
    ledger = deps.ledger
    with ledger.database.read() as tx:
        model = tx.session.get_one(Model, claim.model_id)
        cohort = tx.session.get_one(Cohort, model.core_cohort_id)
        core = None if model.core_import_id is None else tx.session.get_one(CoreImport, model.core_import_id)
    x, y = records.read_cohort(ledger, model.core_cohort_id)
    if len(np.unique(y)) < 2:
        raise NothingToLearn("core")
    fit = partial(
        fit_public_model,
        class_names=tuple(cohort.class_names),
        architecture=model.architecture,
        alpha=model.alpha,
        capacity=model.capacity,
        epochs=model.epochs,
        seed=model.seed,
        architectures=deps.architectures,
        leaky=bool(model.leaky),
        options=input_options(model, cohort, core),
        imported=None if core is None else _imported(deps, model, core),
        device=deps.device,
    )
    chosen, facts = _choose_map(deps, claim, model, partial(fit, feature_map="head"), x, y)
    public = fit(
        x,
        y,
        feature_map=chosen.feature_map,
        width=chosen.width,
        bandwidth=chosen.bandwidth,
        on_progress=Progress(deps, claim, note="training the core network" if core is None else "reading the core"),
    )
    deps.point("train_core.trained")
    sealed = seal(
        public.to_bytes(), ring=ledger.ring, context=artifacts.public_context(model.id), random=ledger.database.random
    )
    name = inventory.write_pending(ledger.database, ledger.objects, claim.tenant_id, "public", claim.owner, [sealed])
    held_out = _evaluation_rows(deps, model, public)
    evaluation = None if held_out is None else _evaluation_object(deps, claim, model, held_out)
    noise = None
    if model.noise is not None:
        noise = planning.plan(model, public, public.extract(x, y) if held_out is None else held_out)
        if noise.planned is not None:
            facts = (facts or {}) | {"noise": asdict(noise.planned)}
    deps.point("train_core.written")
    with ledger.database.begin() as tx:
        jobs.finish(tx, claim, facts)
        row = generations.require_alive(tx, model.id)
        row.state, row.error = "ingesting", None
        row.feature_map, row.width, row.bandwidth = chosen.feature_map, public.width, chosen.bandwidth
        row.public_object, row.public_digest, row.evaluation_object = name, public.digest(), evaluation
        row.public_digests = public.digests()
        if noise is not None:
            row.sigma, row.residual_budget = noise.sigma, noise.residual_budget
        elif row.mu is not None:
            row.residual_budget = row.residual_budget or default_residual_budget(public.plan, public.width, row.mu)
        inventory.enliven(tx, [name] + ([evaluation] if evaluation else []))
        jobs.add(tx, claim.tenant_id, jobs.INGEST_MODEL, lock_key=f"public:{model.id}", model_id=model.id)


def _choose_map(
    deps: Deps, claim: jobs.Claim, model: Model, fit: Fit, x: records.Records, y: records.Labels
) -> tuple[Candidate, dict[str, Any] | None]:
    """Return the registered map, or the chosen one and every candidate's error, which are as public as the core."""
    if model.feature_map != AUTO:
        return Candidate(model.feature_map, model.width, model.bandwidth), None
    grid = [model.mu] if model.mu is not None else model.mu_grid
    assert grid is not None
    choice = choose_map(
        x,
        y,
        fit=fit,
        alpha=model.alpha,
        grid=grid,
        seed=model.seed,
        on_progress=Progress(deps, claim, note="choosing the feature map"),
    )
    tried = [{**asdict(candidate), "error": error} for candidate, error in choice.errors]
    return choice.chosen, {"chosen": asdict(choice.chosen), "tried": tried}


def input_options(model: Model, cohort: Cohort, core: CoreImport | None) -> InputOptions:
    """Return what the cohort, the model and the import say about the form of records; None leaves the default."""
    said: dict[str, Any] = {
        "layout": cohort.layout,
        "missing": cohort.missing,
        "columns": _tuple(cohort.column_names),
        "size": _tuple(model.input_size),
        "mean": None if core is None else _tuple(core.mean),
        "deviation": None if core is None else _tuple(core.deviation),
    }
    return InputOptions(**{name: value for name, value in said.items() if value is not None})


def _tuple(values: list[Any] | None) -> tuple[Any, ...] | None:
    return None if values is None else tuple(values)


def _imported(deps: Deps, model: Model, core: CoreImport) -> ImportedCore:
    return ImportedCore(core_imports.read(deps.ledger, core), core.outputs, model.core_head or KEEP)


def _evaluation_rows(deps: Deps, model: Model, public: PublicModel) -> QuantizedRows | None:
    """Return the quantized rows of the evaluation cohort, which is public, if the model has one."""
    if model.evaluation_cohort_id is None:
        return None
    x, y = records.read_cohort(deps.ledger, model.evaluation_cohort_id)
    if not len(y):
        raise NothingToLearn("evaluation")
    return public.extract(x, y)


def _evaluation_object(deps: Deps, claim: jobs.Claim, model: Model, held_out: QuantizedRows) -> str:
    """Write the evaluation cohort's rows and return the object's name."""
    sealed = seal(
        b"".join(pack(held_out)),
        ring=deps.ledger.ring,
        context=artifacts.evaluation_context(model.id),
        random=deps.ledger.database.random,
    )
    return inventory.write_pending(
        deps.ledger.database, deps.ledger.objects, claim.tenant_id, "evaluation", claim.owner, [sealed]
    )
