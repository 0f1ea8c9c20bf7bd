"""Accounts of nats per record, and the decision whether a version may be published."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unlearning.bounds.exposure_budget import CALM_SHARE, Decision, Spent, decide
from unlearning.errors import OutOfRange


def test_nats_add_up_for_the_versions_that_held_a_record():
    spent = Spent().after({"a": 0.25, "b": 0.5}).after({"b": 0.5, "c": 1.0})
    assert dict(spent.nats) == {"a": 0.25, "b": 1.0, "c": 1.0}
    assert spent.of("never seen") == 0.0


def test_a_forgotten_record_leaves_no_key():
    spent = Spent({"a": 1.0, "b": 2.0}).without(["a", "unknown"])
    assert dict(spent.nats) == {"b": 2.0}


def test_the_account_does_not_change_with_its_source():
    source = {"a": 1.0}
    spent = Spent(source)
    source["a"] = 9.0
    assert spent.of("a") == 1.0
    with pytest.raises(TypeError):
        spent.nats["a"] = 2.0


def test_a_cheap_version_is_published_at_once():
    assert decide(Spent({"a": 0.5}), {"a": 0.4 * CALM_SHARE}, 1.0, 0.0) is Decision.PUBLISH


def test_an_expensive_version_waits_until_the_deadline_presses():
    spent, new = Spent({"a": 0.5}), {"a": 0.4}
    assert decide(spent, new, 1.0, 0.0) is Decision.WAIT
    assert decide(spent, new, 1.0, 0.5) is Decision.WAIT
    assert decide(spent, new, 1.0, 0.9) is Decision.PUBLISH
    assert decide(spent, {"a": 0.5}, 1.0, 1.0) is Decision.PUBLISH
    # 0.7 - 0.2 rounds to less than 0.5, 0.2 + 0.5 does not exceed 0.7: what fits is published at the deadline.
    assert decide(Spent({"a": 0.2}), {"a": 0.5}, 0.7, 1.0) is Decision.PUBLISH


def test_the_worst_record_decides():
    spent = Spent({"a": 0.9, "b": 0.0})
    assert decide(spent, {"a": 0.2, "b": 0.0}, 1.0, 1.0) is Decision.EXHAUSTED
    assert decide(spent, {"b": 0.01}, 1.0, 0.0) is Decision.PUBLISH  # the worst one has left


def test_without_noise_every_budget_is_exhausted_and_none_is_no_limit():
    assert decide(Spent(), {"a": math.inf}, 1e9, 1.0) is Decision.EXHAUSTED
    assert decide(Spent(), {"a": math.inf}, math.inf, 0.0) is Decision.PUBLISH


def test_nobody_in_the_model_costs_nothing():
    assert decide(Spent({"a": 5.0}), {}, 1.0, 0.0) is Decision.PUBLISH


@given(
    spent=st.dictionaries(st.sampled_from("abc"), st.floats(0, 2)),
    new=st.dictionaries(st.sampled_from("abc"), st.floats(0, 2)),
    budget=st.floats(0.1, 5),
    pressure=st.floats(0, 1),
)
def test_publishing_never_breaks_the_budget_and_pressure_never_forbids(spent, new, budget, pressure):
    decision = decide(Spent(spent), new, budget, pressure)
    if decision is Decision.PUBLISH:
        after = Spent(spent).after(new)
        assert all(after.of(key) <= budget for key in new)
        assert decide(Spent(spent), new, budget, 1.0) is Decision.PUBLISH
    assert (decision is Decision.EXHAUSTED) == (decide(Spent(spent), new, budget, 1.0) is Decision.EXHAUSTED)


@pytest.mark.parametrize(
    "call",
    [
        lambda: Spent({"a": -1.0}),
        lambda: Spent({"a": math.nan}),
        lambda: Spent().after({"a": math.nan}),
        lambda: decide(Spent(), {"a": math.nan}, 1.0, 0.0),
        lambda: decide(Spent(), {}, 0.0, 0.0),
        lambda: decide(Spent(), {}, math.nan, 0.0),
        lambda: decide(Spent(), {}, 1.0, -0.1),
        lambda: decide(Spent(), {}, 1.0, 1.1),
        lambda: decide(Spent(), {}, 1.0, math.nan),
    ],
)
def test_bad_input_is_named(call):
    with pytest.raises(OutOfRange):
        call()
