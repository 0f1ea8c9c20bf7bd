"""Attackers' chances from nats: closed forms, orderings, the safe side."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import norm

from unlearning.bounds.trade_off import best_success, compose, delta, epsilon, gaussian_mu
from unlearning.errors import OutOfRange


@pytest.mark.parametrize("nats", [1e-6, 1e-3, 0.1, 1.0, 8.0])
@pytest.mark.parametrize("eps", [0.0, 0.1, 1.0, 3.0])
def test_delta_is_the_mass_that_the_likelihood_ratio_leaves_over(nats, eps):
    strength = math.sqrt(2 * nats)
    start = eps / strength + strength / 2  # where p = e^eps q
    truth = quad(lambda x: norm.pdf(x, strength) - math.exp(eps) * norm.pdf(x), start, start + 40, epsabs=1e-14)[0]
    assert truth - 1e-12 <= delta(nats, eps) <= truth + 1e-11


@given(nats=st.floats(1e-8, 50.0), allowed=st.floats(1e-12, 0.5))
def test_epsilon_inverts_delta_from_above(nats, allowed):
    found = epsilon(nats, allowed)
    assert delta(nats, found) <= allowed
    if found > 1e-6:
        assert delta(nats, found * (1 - 1e-6)) > allowed * (1 - 1e-6)


@given(few=st.floats(0.0, 20.0), more=st.floats(0.0, 20.0), eps=st.floats(0.0, 5.0))
def test_more_nats_are_never_safer(few, more, eps):
    few, more = sorted((few, more))
    assert best_success(few) <= best_success(more)
    assert delta(few, eps) <= delta(more, eps) + 1e-12


def test_composition_adds_nats():
    assert compose([0.5, 1.0, 0.5]) == pytest.approx(2.0)
    assert compose([]) == 0.0
    assert gaussian_mu(2.0) == 2.0


def test_the_ends():
    assert best_success(0.0) == 0.5
    assert best_success(math.inf) == 1.0
    assert delta(0.0, 0.0) == 0.0
    assert delta(math.inf, 3.0) == 1.0
    assert epsilon(1e-30, 0.1) == 0.0
    assert delta(0.01, 700.0) < 1e-200


@pytest.mark.parametrize(
    "call",
    [
        lambda: gaussian_mu(-1.0),
        lambda: compose([0.1, math.nan]),
        lambda: delta(1.0, -0.1),
        lambda: delta(1.0, math.inf),
        lambda: epsilon(1.0, 0.0),
        lambda: epsilon(1.0, 1.0),
        lambda: epsilon(math.inf, 0.1),
    ],
)
def test_bad_input_is_named(call):
    with pytest.raises(OutOfRange):
        call()
