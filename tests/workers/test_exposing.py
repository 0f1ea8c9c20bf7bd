"""The exposure of records that are to leave is the divergence that its definition says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.dry_runs import PEOPLE, evaluated, predicted
from support.world import NewWorld, World

from ledger.tables import Model


def test_with_noise_the_exposure_is_a_number(new_world: NewWorld) -> None:
    world = evaluated(new_world(), noise="inverse_hessian", sigma=0.2, kappa=2e-3, mu=0.05, solver="exact")
    one, everybody = (predicted(world, *names)["models"][0] for names in (["person-0"], [p.name for p in PEOPLE]))
    assert 0 < one["exposure"] <= everybody["exposure"] < 100
    assert "Earlier versions" in one["exposure_note"]
    truth = exposures(world, "person-0")
    assert one["exposure"] == pytest.approx(max(truth), rel=1e-6)
    assert predicted(world, "stranger")["models"] == []
    # Weights without noise are measured nowhere: two dry runs of one question differ, as two releases would.
    assert predicted(world, "person-0")["models"][0]["mean_change"] != one["mean_change"]


def exposures(world: World, name: str) -> list[float]:
    """KL between what is published with and without each record of a person, from the definition."""
    from unlearning.linear.from_rows import features_of, targets_of
    from workers import models, noising

    with world.ledger.database.read() as tx:
        model = tx.session.get_one(Model, world.model_id)
    public = models.load_public(world.deps, world.model_id)
    everybody = [(p, i) for p in PEOPLE for i in range(len(p.y))]
    rows = public.extract(np.concatenate([p.x for p in PEOPLE]), np.concatenate([p.y for p in PEOPLE]))
    phi, goal = features_of(rows, public.plan).phi, targets_of(rows, public.plan)
    sigma = noising.covariance(model).sigma

    def law(keep: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        hessian = phi[keep].T @ phi[keep] / len(keep) + (model.mu or 0) * torch.eye(phi.shape[1]).double()
        return torch.linalg.solve(hessian, phi[keep].T @ goal[keep] / len(keep)), hessian

    every = torch.arange(len(everybody))
    weights, hessian = law(every)
    found = []
    for i, (who, _) in enumerate(everybody):
        if who.name == name:
            other, without = law(every[every != i])
            ratio = torch.linalg.solve(hessian, without)
            shape = float(ratio.trace() - torch.linalg.slogdet(ratio)[1]) - len(ratio)
            move = weights - other
            found.append(0.5 * (float((move * (without @ move)).sum()) / sigma**2 + goal.shape[1] * shape))
    return found
