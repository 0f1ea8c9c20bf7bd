"""What a version with noise may still tell, in nats: constants of the registration, added up over its model's versions.

Measured values depend on the data and stay with the operator (`measured`); what is published here does not.
"""

from __future__ import annotations

from decimal import Decimal

from sqlalchemy import func, select

from ledger.database import Transaction
from ledger.tables import Model, ModelVersion
from unlearning.bounds.certified import CertifiedBound, cumulative, exact_bound, published_bound
from workers.solving import EXACT


def of_next_version(tx: Transaction, model: Model) -> dict[str, object]:
    """Return the bound over all published versions of a model and the next one; empty without noise.

    Every version counts, also one that holds no record: that is more than needed, and says nothing about anybody.
    """
    if model.noise is None:
        return {}
    query = select(func.count()).select_from(ModelVersion).where(ModelVersion.model_id == model.id)
    return fields(model, tx.session.execute(query).scalar_one() + 1)


def fields(model: Model, releases: int) -> dict[str, object]:
    """Return the bound over so many versions, numbers as text: events hold no fractions."""
    bound = certified(model, releases)
    return {
        "method": bound.method,
        "releases": releases,
        "output_bound": nats(model, bound.output_bound, releases),
        "state_bound": nats(model, bound.state_bound, releases),
    }


def certified(model: Model, releases: int) -> CertifiedBound:
    """Return the bound: 0 for exact statistics, with or without noise; kappa a version for the iterative solvers."""
    assert model.noise is not None
    assert model.mu is not None
    assert model.sigma is not None
    assert model.kappa is not None
    if model.solver == EXACT:
        return exact_bound(model.mu, noise=model.noise, sigma=model.sigma)
    one = published_bound(noise=model.noise, sigma=model.sigma, mu=model.mu, kappa=model.kappa)
    return cumulative([one] * releases)


def nats(model: Model, value: float, releases: int) -> str:
    """Return a number of nats as text: releases times kappa, in decimal, so that no rounding makes it smaller."""
    return format((Decimal(repr(model.kappa)) * releases).normalize(), "f") if value else "0"
