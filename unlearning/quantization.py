"""Which integers a record becomes. Chosen from core data, fixed when the model is registered, public.

Statistics are sums of integer products. They are exact in any order while nothing overflows (THEORY: float64 holds
integers up to 2^53, int64 up to 2^63); the limits below keep a margin of 4 bits and 1 bit.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from unlearning.errors import NonFinite, OutOfRange, ShapeMismatch

BLOCK_BITS = 49
"""Bits a sum inside one float64 matrix product may need."""
TOTAL_BITS = 62
"""Bits a sum over all records may need in int64."""
DEFAULT_CAPACITY = 2**22
PHI_BITS = 16
TARGET_BITS = 18
SMALLEST_TARGET_BITS = 12
LOGIT_HEADROOM = 2.0
"""Users' core outputs are clipped at this multiple of the largest one seen on core data."""


@dataclass(frozen=True, slots=True)
class QuantizationPlan:
    """Bit widths, power-of-two scales and limits.

    A feature phi is stored as round(phi * 2^phi_exponent), clipped to +-phi_limit; core outputs and targets likewise
    with 2^target_exponent. `alpha_int` is the target of the true class on that grid. core_limit + alpha_int is at most
    2^(target_bits-1) - 1, so a residual target always fits.
    per_output: whether features have a row for each output (Phi (C, d), tangent maps), not one for all (phi (d,)).
    """

    classes: int
    capacity: int
    phi_bits: int
    target_bits: int
    phi_exponent: int
    target_exponent: int
    alpha_int: int
    core_limit: int
    per_output: bool = False

    def __post_init__(self) -> None:
        """Check THEORY's limits at full capacity.

        Raises OutOfRange: a sum could overflow.
        """
        if self.classes < 2:
            raise OutOfRange("classes", self.classes, ">= 2")
        if self.capacity < 1:
            raise OutOfRange("capacity", self.capacity, ">= 1")
        if not 2 <= self.phi_bits <= 16:
            raise OutOfRange("phi bits", self.phi_bits, "2 to 16, rows are int16")
        if not SMALLEST_TARGET_BITS <= self.target_bits <= 31:
            raise OutOfRange("target bits", self.target_bits, f"{SMALLEST_TARGET_BITS} to 31")
        if self.alpha_int < 1 or self.core_limit < 1 or self.alpha_int + self.core_limit > self.target_limit:
            raise OutOfRange(
                "alpha_int, core_limit", (self.alpha_int, self.core_limit), f">= 1, sum <= {self.target_limit}"
            )
        equations = self.capacity * self.equations_per_record
        worst = max(
            sum_bits(self.phi_bits, self.phi_bits, equations),
            sum_bits(self.phi_bits, self.target_bits, equations),
            sum_bits(self.target_bits, self.target_bits, self.capacity * self.classes),
        )
        if worst > TOTAL_BITS:
            raise OutOfRange("bits of a sum at full capacity", worst, f"<= {TOTAL_BITS}; lower the capacity")
        if self.block_equations < 1:
            raise OutOfRange("equations per exact block", self.block_equations, ">= 1; use fewer bits")

    @property
    def phi_limit(self) -> int:
        """Largest magnitude of a stored feature."""
        return int(2 ** (self.phi_bits - 1) - 1)

    @property
    def target_limit(self) -> int:
        """Largest magnitude of a residual target."""
        return int(2 ** (self.target_bits - 1) - 1)

    @property
    def equations_per_record(self) -> int:
        """How many rows of the least-squares problem a record makes: C with features per output, else one."""
        return self.classes if self.per_output else 1

    @property
    def columns(self) -> int:
        """Return q, the columns of user weights (d, q): one with features per output, else C."""
        return 1 if self.per_output else self.classes

    @property
    def block_equations(self) -> int:
        """Equations whose products one float64 matrix product may add: (b1-1) + (b2-1) + log2(equations) <= 49."""
        widest = (self.phi_bits - 1) + max(self.phi_bits, self.target_bits) - 1
        return int(2 ** (BLOCK_BITS - widest)) if widest <= BLOCK_BITS else 0

    @property
    def alpha(self) -> float:
        """Target of the true class in real units, exactly alpha_int * 2^-target_exponent."""
        return math.ldexp(self.alpha_int, -self.target_exponent)

    def quantize_phi(self, phi: npt.NDArray[np.floating]) -> npt.NDArray[np.int16]:
        """Round to the grid, half to even, and clip symmetrically.

        Raises NonFinite: a feature is NaN or infinite.
        """
        return to_grid(phi, self.phi_exponent, self.phi_limit, "features").astype(np.int16)

    def quantize_core_output(self, logits: npt.NDArray[np.floating]) -> npt.NDArray[np.int32]:
        """Round to the target grid and clip at core_limit.

        Raises NonFinite: a logit is NaN or infinite.
        """
        return to_grid(logits, self.target_exponent, self.core_limit, "core outputs").astype(np.int32)

    def phi_values(self, phi_int: npt.NDArray[np.int16]) -> npt.NDArray[np.float64]:
        """Return stored features in real units; exact."""
        return np.ldexp(phi_int.astype(np.float64), -self.phi_exponent)

    def core_values(self, core_output: npt.NDArray[np.int32]) -> npt.NDArray[np.float64]:
        """Return stored core outputs in real units; exact."""
        return np.ldexp(core_output.astype(np.float64), -self.target_exponent)

    def to_fields(self) -> dict[str, int]:
        """Return the fields as plain integers, for JSON; `from_fields` reads them back.

        `per_output` stands there only where it holds: plans of shared maps have the bytes that they always had.
        """
        fields: dict[str, int] = asdict(self)
        if self.per_output:
            return fields | {"per_output": 1}
        del fields["per_output"]
        return fields

    @classmethod
    def from_fields(cls, fields: Mapping[str, int]) -> "QuantizationPlan":
        """Read `to_fields` back. Raises TypeError: other fields; OutOfRange."""
        numbers = dict(fields)
        per_output = bool(numbers.pop("per_output", 0))
        return cls(**numbers, per_output=per_output)


def sum_bits(left_bits: int, right_bits: int, terms: int) -> float:
    """Return (b1-1) + (b2-1) + log2(terms): bits of a sum of `terms` products of signed integers."""
    return (left_bits - 1) + (right_bits - 1) + math.log2(terms)


def to_grid(values: npt.NDArray[np.floating], exponent: int, limit: int, name: str) -> npt.NDArray[np.float64]:
    """Return clip(round(values * 2^exponent), -limit, limit); the scaling is exact in float64.

    Raises NonFinite.
    """
    broken = int(values.size - np.count_nonzero(np.isfinite(values)))
    if broken:
        raise NonFinite(name, broken)
    grid = np.ldexp(values.astype(np.float64), exponent)
    np.rint(grid, out=grid)
    return np.clip(grid, -limit, limit, out=grid)


def widest_target_bits(capacity: int, classes: int) -> int:
    """Return the target bits, at most 18, whose squared sum over capacity * classes terms fits 62 bits.

    Raises OutOfRange: capacity or classes so large that fewer than 12 bits are left.
    """
    if capacity < 1 or classes < 2:
        raise OutOfRange("capacity, classes", (capacity, classes), ">= 1, >= 2")
    magnitude = math.floor((TOTAL_BITS - math.log2(capacity * classes)) / 2)
    bits = min(TARGET_BITS, magnitude + 1)
    if bits < SMALLEST_TARGET_BITS:
        raise OutOfRange(
            "capacity * classes", capacity * classes, f"small enough for {SMALLEST_TARGET_BITS} bit targets"
        )
    return bits


def largest_exponent(magnitude: float, limit: int) -> int:
    """Return the largest e with magnitude * 2^e <= limit."""
    exponent = math.floor(math.log2(limit / magnitude))
    while magnitude * 2.0**exponent > limit:
        exponent -= 1
    return exponent


def plan_quantization(
    phi_core: npt.NDArray[np.floating],
    logits_core: npt.NDArray[np.floating],
    *,
    alpha: float,
    capacity: int = DEFAULT_CAPACITY,
    classes: int,
) -> QuantizationPlan:
    """Choose scales so that core features are not clipped and core logits (n, C) have headroom 2.

    Core features (n, d) make a plan for a map that all outputs share, (n, C, d) one for features per output.
    Raises OutOfRange: alpha not positive, or widths that overflow at `capacity`; ShapeMismatch; NonFinite.
    """
    per_output = phi_core.ndim == 3
    leading = (phi_core.shape[0], classes) if per_output else (phi_core.shape[0],)
    if phi_core.shape[:-1] != leading or logits_core.shape != (phi_core.shape[0], classes):
        raise ShapeMismatch(
            "core features, core logits", (phi_core.shape, logits_core.shape), ("(n, d) or (n, C, d)", "(n, C)")
        )
    if not (alpha > 0 and math.isfinite(alpha)):
        raise OutOfRange("alpha", alpha, "> 0")
    for name, values in (("core features", phi_core), ("core logits", logits_core)):
        broken = int(values.size - np.count_nonzero(np.isfinite(values)))
        if broken:
            raise NonFinite(name, broken)
    target_bits = widest_target_bits(capacity, classes)
    phi_limit = 2 ** (PHI_BITS - 1) - 1
    target_limit = 2 ** (target_bits - 1) - 1
    largest_phi = float(np.abs(phi_core).max(initial=0.0))
    if largest_phi == 0.0:
        raise OutOfRange("largest core feature", largest_phi, "> 0")
    largest_logit = LOGIT_HEADROOM * max(float(np.abs(logits_core).max(initial=0.0)), alpha)
    target_exponent = largest_exponent(largest_logit + alpha, target_limit - 1)
    alpha_int = round(math.ldexp(alpha, target_exponent))
    return QuantizationPlan(
        classes=classes,
        capacity=capacity,
        phi_bits=PHI_BITS,
        target_bits=target_bits,
        phi_exponent=largest_exponent(largest_phi, phi_limit),
        target_exponent=target_exponent,
        alpha_int=alpha_int,
        core_limit=target_limit - alpha_int,
        per_output=per_output,
    )
