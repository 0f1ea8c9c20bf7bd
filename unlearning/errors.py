"""What can go wrong in the mathematics, as facts.

UnlearningError
├── OutOfRange            a value lies outside what the code can work with exactly
├── NonFinite             NaN or infinity came in
├── ShapeMismatch         an array has another shape or dtype than the model
├── CapacityExceeded      more records than the integer widths were planned for
├── NeverAdded            rows were subtracted that the statistics do not contain
├── ProblemRefused        the solve cannot be proved accurate enough
├── BudgetMissed          an iterative solver stopped before its residual met the budget
├── BoundRefused          a bound in nats cannot be shown to keep its budget
├── ExposureSpent         one more version would tell more about a record than its budget allows
├── DeviceRefused         a device does not multiply integers exactly
├── UnknownArchitecture   no network has this name
├── ArchitectureRefused   an operator's network cannot be used as a core
├── CoreRefused           a file of weights is not what an imported core must be
├── UnknownFeatureMap     no feature map has this name
└── CorruptArtifact       bytes that are not what they claim to be
"""

from collections.abc import Iterable


class UnlearningError(Exception):
    """Root of this package's errors."""


class OutOfRange(UnlearningError):
    """A value lies outside what the code can work with exactly."""

    def __init__(self, name: str, got: object, allowed: str) -> None:
        super().__init__(f"{name} is {got}; allowed: {allowed}")
        self.name = name
        self.got = got
        self.allowed = allowed


class NonFinite(UnlearningError):
    """NaN or infinity came in; `count` values of `name` are affected."""

    def __init__(self, name: str, count: int) -> None:
        super().__init__(f"{name} holds {count} values that are NaN or infinite; replace or drop them before sending")
        self.name = name
        self.count = count


class ShapeMismatch(UnlearningError):
    """An array has another shape or dtype than the model expects."""

    def __init__(self, name: str, got: object, expected: object) -> None:
        super().__init__(f"{name} is {got}, but {expected} is expected")
        self.name = name
        self.got = got
        self.expected = expected


class CapacityExceeded(UnlearningError):
    """More records than the integer widths were planned for: sums could overflow."""

    def __init__(self, count: int, allowed: int) -> None:
        super().__init__(
            f"{count} records would exceed the capacity of {allowed}; register a model with a larger capacity"
        )
        self.count = count
        self.allowed = allowed


class NeverAdded(UnlearningError):
    """Rows were subtracted that the statistics cannot contain."""

    def __init__(self, fact: str) -> None:
        super().__init__(
            f"the rows were never part of these statistics: {fact}; rebuild the statistics from the stored rows"
        )
        self.fact = fact


class ProblemRefused(UnlearningError):
    """The solve cannot be proved accurate enough. Norms are Frobenius norms of the gradient."""

    def __init__(self, residual_bound: float, budget: float, reason: str) -> None:
        super().__init__(
            f"the float error of the solve is bounded by {residual_bound:.3e}, the budget is {budget:.3e} ({reason}); "
            "raise mu, or register a narrower feature map"
        )
        self.residual_bound = residual_bound
        self.budget = budget
        self.reason = reason


class DeviceRefused(UnlearningError):
    """A device does not multiply integers exactly, so its statistics cannot be trusted."""

    def __init__(self, device: str, product: object) -> None:
        super().__init__(f"{device} returned a wrong integer product for {product}; use another device")
        self.device = device
        self.product = product


class UnknownArchitecture(UnlearningError):
    """No network has this name."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        super().__init__(f"no architecture is named {name!r}; known: {', '.join(sorted(known))}")
        self.name = name


class ArchitectureRefused(UnlearningError):
    """An operator's network cannot be used as a core."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(
            f"the architecture {name!r} cannot be used: {why}; correct LACUNA_ARCHITECTURES or the factory"
        )
        self.name = name
        self.why = why


class CoreRefused(UnlearningError):
    """A file of weights is not what an imported core must be. Nothing of it was kept."""

    def __init__(self, why: str, advice: str) -> None:
        super().__init__(f"The core was not imported: {why}. {advice}")
        self.why = why
        self.advice = advice


class UnknownFeatureMap(UnlearningError):
    """No feature map has this name."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        super().__init__(f"no feature map is named {name!r}; known: {', '.join(sorted(known))}")
        self.name = name


class CorruptArtifact(UnlearningError):
    """Bytes that are not what they claim to be."""

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(f"these bytes are not a valid {what}: {reason}; restore the object or rebuild it")
        self.what = what
        self.reason = reason


class BudgetMissed(UnlearningError):
    """An iterative solver stopped before its measured residual met the budget: there is no result.

    Norms are Frobenius norms of the gradient; `residual_bound` is `residual_norm` plus the bounded float error of
    measuring it.
    """

    def __init__(
        self, reason: str, *, residual_norm: float, residual_bound: float, budget: float, iterations: int
    ) -> None:
        float_error = residual_bound - residual_norm
        super().__init__(
            f"the solver stopped after {iterations} iterations ({reason}): the gradient is up to {residual_bound:.3e}, "
            f"of which {float_error:.3e} is float error, the budget is {budget:.3e}; "
            "allow more iterations, use a better preconditioner, raise mu, or solve exactly"
        )
        self.reason = reason
        self.residual_norm = residual_norm
        self.residual_bound = residual_bound
        self.float_error = float_error
        self.budget = budget
        self.iterations = iterations


class BoundRefused(UnlearningError):
    """A bound cannot be shown to keep its budget, so nothing may be released under it. All amounts in nats."""

    def __init__(self, nats: float, float_error: float, budget: float, reason: str) -> None:
        super().__init__(
            f"the bound is {nats:.3e} nats, of which {float_error:.3e} are float error; allowed: {budget:.3e} "
            f"({reason}); solve further, raise mu or sigma, or use the exact solver"
        )
        self.nats = nats
        self.float_error = float_error
        self.budget = budget
        self.reason = reason


class ExposureSpent(UnlearningError):
    """One more version would tell more about some record than the model's budget allows. No numbers: they are data."""

    def __init__(self) -> None:
        super().__init__(
            "one more version would tell more about some record than the exposure budget allows, so it was not "
            "published; register a successor with a larger budget or more noise"
        )
