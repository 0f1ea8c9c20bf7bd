"""Standard normals from bytes."""

import math
import secrets
import struct

import pytest
import torch
from scipy.stats import kstest, norm

from unlearning.errors import OutOfRange, ShapeMismatch
from unlearning.noise.gaussian import LARGEST, standard_normals, truncation_nats


def from_words(*words: int) -> torch.Tensor:
    return standard_normals((len(words),), lambda _: struct.pack(f"<{len(words)}Q", *words))


def test_is_the_inverse_distribution_function_of_the_upper_63_bits():
    word = 0x1234_5678_9ABC_DEF0
    draw = float(from_words(word)[0])
    assert norm.cdf(draw) == pytest.approx((word | 1) * 2.0**-65, rel=1e-12)


def test_the_lowest_bit_is_the_sign():
    even, odd = from_words(0x2345 << 40, (0x2345 << 40) | 1)
    assert float(even) < 0 < float(odd)
    assert float(even) == -float(odd)


def test_the_tail_ends_where_it_is_said_to():
    assert from_words(0, 1).tolist() == [-LARGEST, LARGEST]
    assert norm.sf(LARGEST) == pytest.approx(2.0**-65, rel=1e-9)
    assert 9.0 < LARGEST < 9.2
    assert abs(float(from_words(2**64 - 1)[0])) < 1e-15


def test_the_tail_is_worth_what_is_said_in_nats():
    """KL of the cut law to the normal law, by its definition."""
    assert truncation_nats(1) == pytest.approx(-math.log1p(-2 * norm.sf(LARGEST)), rel=1e-9)
    assert truncation_nats(100_000) < 6e-15


def test_draws_are_normal(seeded_bytes):
    """200,000 draws. Size 1e-6; power: a standard deviation 3 % off or a mean 0.02 off is found, tried below."""
    draws = standard_normals((200_000,), seeded_bytes(0)).numpy()
    assert kstest(draws, "norm").pvalue > 1e-6
    assert kstest(1.03 * draws, "norm").pvalue < 1e-6
    assert kstest(draws + 0.02, "norm").pvalue < 1e-6


def test_neighbours_are_uncorrelated(seeded_bytes):
    """200,000 pairs: standard error 0.0022. Size 1e-6 (4.9 errors); a correlation of 0.02 stands 9 errors out."""
    draws = standard_normals((200_001,), seeded_bytes(1))
    correlation = float((draws[1:] * draws[:-1]).mean())
    assert abs(correlation) < 4.9 / math.sqrt(200_000)
    mixed = draws[1:] + 0.02 * draws[:-1]
    assert abs(float((mixed * draws[:-1]).mean())) > 4.9 / math.sqrt(200_000)


def test_shapes_and_types():
    assert standard_normals((2, 3), secrets.token_bytes).shape == (2, 3)
    assert standard_normals((0, 3), secrets.token_bytes).shape == (0, 3)
    assert standard_normals((1,), secrets.token_bytes).dtype == torch.float64


def test_a_source_that_runs_short_is_named():
    with pytest.raises(ShapeMismatch, match="random source"):
        standard_normals((4,), lambda count: b"\0" * (count - 1))
    with pytest.raises(OutOfRange):
        standard_normals((-1,), secrets.token_bytes)
    with pytest.raises(OutOfRange):
        truncation_nats(-1)
