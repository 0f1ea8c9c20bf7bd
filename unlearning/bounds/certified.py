"""The bound that a certificate states: two numbers in nats, how they were found, and what they leave out.

`output_bound` is about what was released, `state_bound` about everything that is kept. The second is larger when more
is kept than the released weights and the exact statistics.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from unlearning.bounds.noise_shape import check_mu
from unlearning.errors import OutOfRange

METHODS = ("exact_statistics", "white_box", "black_box_joint")
ADVERSARY = (
    "Knows the retained records, the public model, mu, sigma, kappa and the algorithm, and computes without limit; "
    "knows neither the noise nor the forgotten records."
)
NOT_COVERED = (
    "earlier versions of the model and outputs already given (differencing exposure, counted apart)",
    "backups outside the store",
    "the fact, the number and the time of requests",
)
NOISE_ASSUMPTIONS = (
    "the noise comes from a cryptographic generator, is drawn once per version and its seed is never stored",
    "sigma, mu and kappa were fixed at registration, from public data alone",
    "the noise's covariance depends on public data and on the retained records only",
    "a version whose residual misses the allowed one is not published",
)
EXACT_ASSUMPTIONS = (
    "statistics are integers and equal those of a service that never saw the records",
    "requests do not depend on earlier outputs",
)


@dataclass(frozen=True, slots=True)
class CertifiedBound:
    """What one forget, or a sequence of them, may still tell about the forgotten records, in nats.

    sigma, mu, kappa: constants of the registration; sigma and kappa are 0 for exact statistics without noise.
    releases: over how many published versions of one sequence the bounds were added.
    """

    output_bound: float
    state_bound: float
    method: str
    noise: str
    sigma: float
    mu: float
    kappa: float
    adversary: str = ADVERSARY
    assumptions: tuple[str, ...] = NOISE_ASSUMPTIONS
    scope: str = "the weights of this version and every prediction computed from them"
    not_covered: tuple[str, ...] = field(default=NOT_COVERED)
    releases: int = 1

    def __post_init__(self) -> None:
        """Raise OutOfRange: a negative or missing bound, an unknown method, constants that contradict it."""
        if not (self.output_bound >= 0 and self.state_bound >= 0):
            raise OutOfRange("bounds in nats", (self.output_bound, self.state_bound), ">= 0")
        if self.method not in METHODS:
            raise OutOfRange("method", self.method, ", ".join(METHODS))
        if not (self.sigma >= 0 and self.kappa >= 0):
            raise OutOfRange("sigma and kappa", (self.sigma, self.kappa), ">= 0")
        check_mu(self.mu)
        if self.releases < 1:
            raise OutOfRange("releases", self.releases, ">= 1")
        if self.method != "exact_statistics" and self.sigma == 0:
            raise OutOfRange("sigma", self.sigma, "> 0: without noise only exact statistics are bounded")

    def to_fields(self) -> dict[str, object]:
        """Return plain values for a certificate. Infinite bounds become None, which JSON can hold."""
        return {
            "unit": "nats",
            "output_bound": finite_or_none(self.output_bound),
            "state_bound": finite_or_none(self.state_bound),
            "method": self.method,
            "noise": self.noise,
            "sigma": self.sigma,
            "mu": self.mu,
            "kappa": self.kappa,
            "releases": self.releases,
            "adversary": self.adversary,
            "assumptions": list(self.assumptions),
            "scope": self.scope,
            "not_covered": list(self.not_covered),
        }


def exact_bound(mu: float, *, noise: str = "none", sigma: float = 0.0) -> CertifiedBound:
    """Return the bound of exact statistics: 0 nats with or without noise, as nothing kept depends on what was removed.

    Holds for requests that do not depend on earlier outputs.
    """
    return CertifiedBound(0.0, 0.0, "exact_statistics", noise, sigma, mu, 0.0, assumptions=EXACT_ASSUMPTIONS)


def published_bound(
    *, noise: str, sigma: float, mu: float, kappa: float, keeps_unnoised: bool = False
) -> CertifiedBound:
    """Return what a certificate states for one version of an iterative solver: kappa, never the measured value.

    Measured values depend on data and stay with the operator. Beside the published weights exact statistics may be
    kept: they add nothing. keeps_unnoised: whether weights from before the noise are kept; then the state has no bound.
    """
    return CertifiedBound(kappa, math.inf if keeps_unnoised else kappa, "white_box", noise, sigma, mu, kappa)


def cumulative(bounds: Iterable[CertifiedBound]) -> CertifiedBound:
    """Return the bound of a sequence of releases: both numbers add up, each at the chain rule's worst.

    The state is only the last version's, but it was warm-started at the weights of before, so the sum is taken for it
    too. Raises OutOfRange: no bounds, or registrations that differ.
    """
    chain = tuple(bounds)
    if not chain:
        raise OutOfRange("number of bounds", 0, ">= 1")
    first = chain[0]
    same = {(each.method, each.noise, each.sigma, each.mu, each.kappa, each.assumptions) for each in chain}
    if len(same) != 1:
        raise OutOfRange("registrations in one sequence", len(same), "exactly one")
    return replace(
        first,
        output_bound=sum(each.output_bound for each in chain),
        state_bound=sum(each.state_bound for each in chain),
        releases=sum(each.releases for each in chain),
    )


def finite_or_none(nats: float) -> float | None:
    """Return nats, or None for infinity."""
    return None if math.isinf(nats) else nats
