"""Exposure added up over a model's life, and whether one more version may be published.

KL adds up over versions (chain rule; every version has its own noise), so a record's account is the sum over all
versions that held it. The budget belongs to the worst record. When and whether a version appears then depends on data:
times and counts are out of the certificate's scope.
"""

import enum
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from unlearning.errors import OutOfRange

CALM_SHARE = 0.05
"""Without any pressure a version may take this share of what the record that it costs most has left."""


class Decision(enum.Enum):
    """What to do with a version that is ready."""

    PUBLISH = "publish"
    WAIT = "wait"
    """It fits, but costs much now: more requests may join it, and exposure falls as the model grows."""
    EXHAUSTED = "exhausted"
    """It does not fit: nothing may be published while these records are in and the model is as it is."""


@dataclass(frozen=True, slots=True)
class Spent:
    """Record key -> nats over all published versions that held the record. Keys of forgotten records are not kept."""

    nats: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Copy, so that the value cannot change. Raises OutOfRange: negative or NaN nats."""
        check_all(self.nats)
        object.__setattr__(self, "nats", MappingProxyType(dict(self.nats)))

    def after(self, published: Mapping[str, float]) -> "Spent":
        """Return the account after a version with these exposures was published. Raises OutOfRange."""
        check_all(published)
        return Spent({**self.nats, **{key: self.of(key) + nats for key, nats in published.items()}})

    def without(self, forgotten: Iterable[str]) -> "Spent":
        """Return the account without these records; unknown keys are ignored."""
        gone = frozenset(forgotten)
        return Spent({key: nats for key, nats in self.nats.items() if key not in gone})

    def of(self, key: str) -> float:
        """Return what is spent on a record; 0 for one that no version held."""
        return self.nats.get(key, 0.0)


def decide(spent: Spent, new: Mapping[str, float], budget: float, pressure: float) -> Decision:
    """Return whether the version with exposures `new` (record key -> nats) may be published now.

    budget: nats per record over the model's life; infinite means none. pressure: how much of the time until the
    deadline of the oldest waiting request is used, 0 to 1. At 1 whatever fits is published; before, a version may take
    from each record CALM_SHARE to all of what it has left, rising with pressure.
    Raises OutOfRange: budget not positive, pressure outside 0 to 1, negative nats.
    """
    if not budget > 0:
        raise OutOfRange("exposure budget", budget, "> 0")
    if not 0 <= pressure <= 1:
        raise OutOfRange("pressure", pressure, "0 to 1")
    check_all(new)
    if math.isinf(budget):
        return Decision.PUBLISH
    if any(spent.of(key) + nats > budget for key, nats in new.items()):
        return Decision.EXHAUSTED
    share = CALM_SHARE + (1.0 - CALM_SHARE) * pressure
    if pressure < 1 and any(nats > share * (budget - spent.of(key)) for key, nats in new.items()):
        return Decision.WAIT
    return Decision.PUBLISH


def check_all(nats: Mapping[str, float]) -> None:
    """Raise OutOfRange unless every value is >= 0; infinity is allowed."""
    for value in nats.values():
        if not value >= 0:
            raise OutOfRange("nats of a record", value, ">= 0")
