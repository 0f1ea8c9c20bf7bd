"""Scales, clips and the limits that keep sums exact."""

import math

import numpy as np
import pytest

from unlearning.errors import NonFinite, OutOfRange, ShapeMismatch
from unlearning.quantization import (
    BLOCK_BITS,
    DEFAULT_CAPACITY,
    TOTAL_BITS,
    QuantizationPlan,
    plan_quantization,
    sum_bits,
)


def core(seed: int = 0, n: int = 50, d: int = 4, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    return generator.normal(size=(n, d)), 3 * generator.normal(size=(n, classes))


@pytest.mark.parametrize("capacity", [1, 1000, DEFAULT_CAPACITY, 2**28])
@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_every_plan_keeps_the_limits_at_full_capacity(capacity: int, classes: int) -> None:
    phi, logits = core(classes=classes)
    plan = plan_quantization(phi, logits, alpha=5.0, capacity=capacity, classes=classes)
    assert sum_bits(plan.phi_bits, plan.phi_bits, capacity) <= TOTAL_BITS
    assert sum_bits(plan.phi_bits, plan.target_bits, capacity) <= TOTAL_BITS
    assert sum_bits(plan.target_bits, plan.target_bits, capacity * classes) <= TOTAL_BITS
    for right in (plan.phi_bits, plan.target_bits):
        assert sum_bits(plan.phi_bits, right, plan.block_equations) <= BLOCK_BITS
    assert sum_bits(plan.phi_bits, max(plan.phi_bits, plan.target_bits), 2 * plan.block_equations) > BLOCK_BITS
    assert plan.alpha_int + plan.core_limit <= plan.target_limit


def test_scales_are_the_finest_that_do_not_clip_core_features() -> None:
    phi, logits = core()
    plan = plan_quantization(phi, logits, alpha=5.0, classes=3)
    assert np.abs(phi).max() * 2.0**plan.phi_exponent <= plan.phi_limit
    assert np.abs(phi).max() * 2.0 ** (plan.phi_exponent + 1) > plan.phi_limit
    step = 2.0**-plan.phi_exponent
    assert np.abs(plan.phi_values(plan.quantize_phi(phi)) - phi).max() <= step / 2
    assert np.abs(plan.core_values(plan.quantize_core_output(logits)) - logits).max() <= 2.0**-plan.target_exponent / 2
    assert abs(plan.alpha - 5.0) <= 2.0**-plan.target_exponent / 2


def test_clip_is_symmetric_and_rounds_half_to_even(plan: QuantizationPlan) -> None:
    step = 2.0**-plan.phi_exponent
    values = np.array([[1e9, -1e9, 0.5 * step, 1.5 * step, -0.5 * step]])
    assert plan.quantize_phi(values).tolist() == [[plan.phi_limit, -plan.phi_limit, 0, 2, 0]]
    assert plan.quantize_core_output(np.array([[1e9, -1e9]])).tolist() == [[plan.core_limit, -plan.core_limit]]


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_non_finite_values_are_refused(plan: QuantizationPlan, broken: float) -> None:
    with pytest.raises(NonFinite):
        plan.quantize_phi(np.array([[broken]]))
    with pytest.raises(NonFinite):
        plan.quantize_core_output(np.array([[broken]]))
    phi, logits = core()
    phi[3, 2] = broken
    with pytest.raises(NonFinite, match="core features"):
        plan_quantization(phi, logits, alpha=5.0, classes=3)


@pytest.mark.parametrize("alpha", [0.0, -1.0, math.nan, math.inf])
def test_alpha_must_be_positive(alpha: float) -> None:
    with pytest.raises(OutOfRange, match="alpha"):
        plan_quantization(*core(), alpha=alpha, classes=3)


@pytest.mark.parametrize(
    "change",
    [
        {"capacity": 2**33},
        {"capacity": 0},
        {"phi_bits": 17},
        {"target_bits": 8},
        {"target_bits": 30, "capacity": 2**20},
        {"target_bits": 22, "capacity": 2**21},  # only the sum of squared targets is too wide
        {"core_limit": 2**17},
        {"alpha_int": 0},
        {"classes": 1},
    ],
)
def test_plans_that_could_overflow_are_refused(plan: QuantizationPlan, change: dict[str, int]) -> None:
    with pytest.raises(OutOfRange):
        QuantizationPlan(**{**plan.to_fields(), **change})


def test_too_large_a_capacity_and_wrong_shapes_are_refused() -> None:
    phi, logits = core()
    with pytest.raises(OutOfRange, match="capacity"):
        plan_quantization(phi, logits, alpha=5.0, capacity=2**40, classes=3)
    with pytest.raises(ShapeMismatch):
        plan_quantization(phi, logits[:-1], alpha=5.0, classes=3)
    with pytest.raises(OutOfRange, match="feature"):
        plan_quantization(np.zeros_like(phi), logits, alpha=5.0, classes=3)


def test_fields_round_trip(plan: QuantizationPlan) -> None:
    assert QuantizationPlan(**plan.to_fields()) == plan
