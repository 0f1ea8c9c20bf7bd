"""The value that certificates state."""

import json
import math
from dataclasses import FrozenInstanceError

import pytest

from unlearning.bounds.certified import CertifiedBound, cumulative, exact_bound, published_bound
from unlearning.errors import OutOfRange


@pytest.fixture
def one() -> CertifiedBound:
    return published_bound(noise="inverse_hessian", sigma=0.05, mu=0.01, kappa=1e-3)


def test_exact_statistics_tell_nothing():
    exact = exact_bound(0.01)
    assert (exact.output_bound, exact.state_bound) == (0.0, 0.0)
    assert any("earlier outputs" in each for each in exact.assumptions)


def test_a_noised_version_states_kappa(one):
    assert (one.output_bound, one.state_bound) == (1e-3, 1e-3)


def test_keeping_weights_from_before_the_noise_leaves_the_state_unbounded():
    kept = published_bound(noise="isotropic", sigma=0.05, mu=0.01, kappa=1e-3, keeps_unnoised=True)
    assert kept.output_bound == 1e-3
    assert kept.state_bound == math.inf
    assert kept.to_fields()["state_bound"] is None


def test_nats_add_up_over_versions(one):
    chain = cumulative([cumulative([one, one]), one])
    assert chain.output_bound == pytest.approx(3e-3)
    assert chain.state_bound == pytest.approx(3e-3)
    assert chain.releases == 3


def test_fields_are_json_and_name_everything(one):
    fields = json.loads(json.dumps(one.to_fields(), allow_nan=False))
    assert fields["unit"] == "nats"
    assert fields["assumptions"]
    assert any("backups" in each for each in fields["not_covered"])
    assert {"sigma", "mu", "kappa", "adversary", "scope", "method", "noise"} <= fields.keys()


def test_it_is_frozen(one):
    with pytest.raises(FrozenInstanceError):
        one.output_bound = 0.0


@pytest.mark.parametrize(
    "call",
    [
        lambda: published_bound(noise="isotropic", sigma=0.0, mu=0.01, kappa=1e-3),
        lambda: published_bound(noise="isotropic", sigma=0.1, mu=0.0, kappa=1e-3),
        lambda: published_bound(noise="isotropic", sigma=0.1, mu=0.1, kappa=-1e-3),
        lambda: published_bound(noise="isotropic", sigma=0.1, mu=0.1, kappa=math.nan),
        lambda: CertifiedBound(0.0, 0.0, "a guess", "none", 0.0, 0.1, 0.0),
        lambda: cumulative([]),
        lambda: cumulative([exact_bound(0.1), exact_bound(0.2)]),
    ],
)
def test_contradictions_are_named(call):
    with pytest.raises(OutOfRange):
        call()
