"""What a certificate says about nats: how much the named versions may still tell about the forgotten records.

Exact statistics, with or without noise, tell nothing. The iterative solvers tell at most kappa a version, and these add
up. Only constants of the registration are stated; what was measured would tell about the records.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from ledger.tables import Model, ModelVersion

Covered = Sequence[tuple[Model, ModelVersion]]

DEFINITION = (
    "information about the forgotten records, given the retained ones, in the weights (output) and in weights and "
    "statistics together (state) of the versions named as subjects"
)
EQUAL = "both are equal, byte for byte, to those of a service that never saw the records"
EQUAL_BUT_NOISE = (
    "statistics, and the weights before their noise, are equal, byte for byte, to those of a service that never saw "
    "the records; the noise is drawn apart from all records"
)
ADDED_UP = (
    "statistics are equal, byte for byte, to those of a service that never saw the records. Weights are a normal law "
    "around a solution whose gradient over the retained records was measured, float error included: at most kappa nats "
    "from the law around the retained optimum. kappa counts once for every version that the model has published, as "
    "each was solved from the weights of the one before; weights from before the noise are kept nowhere"
)
NOISE_ASSUMPTIONS = [
    "Noise comes from a cryptographic generator, is drawn once per version, and neither it nor a seed is kept; its "
    "covariance depends on public data and retained records only; weights are published on a fixed public grid.",
    "sigma and kappa were fixed when the model was registered, sigma from public data if it was planned. A version "
    "whose solve missed kappa was solved exactly instead, or not published.",
]
DIFFERENCING = (
    "Differencing exposure: what earlier versions told about a record while it was in them, to whoever compares them "
    "with versions without it; without noise that is unbounded."
)
BUDGETED = (
    " For models with an exposure budget it is counted: a version is published only if, with it, what all versions of "
    "that generation tell about the record that each is worst for stays within the budget in sum."
)

MEASURED = (
    "What was measured while a version was solved iteratively (its distance to the optimum before the noise, whether "
    "the exact solver took over, the time): it depends on where the solver started, is shown to the operator, and is "
    "deleted with the version."
)


def bounds(covered: Covered) -> dict[str, Any]:
    """Return the two numbers, over all models together, with their definition and basis."""
    totals = [sum((nats(version, name) for _, version in covered), Decimal(0)) for name in ("output", "state")]
    return {
        "output_bound": {"value": number(totals[0]), "unit": "nat"},
        "state_bound": {"value": number(totals[1]), "unit": "nat"},
        "definition": DEFINITION,
        "basis": basis(covered),
    }


def nats(version: ModelVersion, which: str) -> Decimal:
    """Return the output or state bound of a version; versions without noise, and old ones, say nothing of it: 0."""
    return Decimal(version.checks.get("bound", {}).get(f"{which}_bound", "0"))


def number(value: Decimal) -> int | str:
    """Return 0 as a number and everything else as text: statements hold no fractions."""
    return format(value.normalize(), "f") if value else 0


def basis(covered: Covered) -> str:
    """Return why the numbers hold."""
    said = [EQUAL] if any(model.noise is None for model, _ in covered) or not covered else []
    if any(model.noise is not None and model.solver == "exact" for model, _ in covered):
        said.append(EQUAL_BUT_NOISE)
    if any(model.solver != "exact" for model, _ in covered):
        said.append(ADDED_UP)
    if len(said) < 2:
        return said[0]
    return "; of others, ".join(said)


def assumptions(covered: Covered) -> list[str]:
    """Return what is assumed beyond what every certificate assumes."""
    return NOISE_ASSUMPTIONS if any(model.noise is not None for model, _ in covered) else []


def not_covered(covered: Covered) -> list[str]:
    """Return what the numbers do not cover, and what was done about it."""
    budgeted = any(model.exposure_budget is not None for model, _ in covered)
    iterative = any(model.solver != "exact" for model, _ in covered)
    return [DIFFERENCING + BUDGETED if budgeted else DIFFERENCING, *([MEASURED] if iterative else [])]


def facts(model: Model, version: ModelVersion) -> dict[str, Any]:
    """Return a model's constants that its bound follows from, as text, and over how many versions it was added up."""
    bound = version.checks.get("bound", {})
    return {
        "method": model.solver,
        "bound_by": bound.get("method", "exact_statistics"),
        "noise": model.noise or "none",
        "sigma": None if model.sigma is None else repr(model.sigma),
        "kappa": None if model.kappa is None else repr(model.kappa),
        "exposure_budget": None if model.exposure_budget is None else repr(model.exposure_budget),
        "output_bound": bound.get("output_bound", "0"),
        "state_bound": bound.get("state_bound", "0"),
        "releases": bound.get("releases"),
    }
