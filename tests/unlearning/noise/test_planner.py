"""The proposal keeps its promises on fresh records, and comes from core data and the generator alone."""

import math
import random
from dataclasses import replace

import pytest
import torch

from unlearning.bounds.exposure import ScaledRidge, prepare
from unlearning.bounds.white_box import cheap_bound
from unlearning.errors import NonFinite, OutOfRange, ShapeMismatch
from unlearning.noise.covariance import covariance_named
from unlearning.noise.planner import SIGMAS, CoreSample, largest_within, propose

MUS = (1e-3, 1e-2, 1e-1)


def clouds(count: int, seed: int, width: int = 12) -> CoreSample:
    """Three overlapping clouds in 12 dimensions; the core network answers 0; targets 5 * onehot."""
    generator = torch.Generator().manual_seed(seed)
    centers = 1.2 * torch.randn((3, width), generator=torch.Generator().manual_seed(99), dtype=torch.float64)
    labels = torch.randint(0, 3, (count,), generator=generator)
    phi = centers[labels] + torch.randn((count, width), generator=generator, dtype=torch.float64)
    targets = 5.0 * torch.nn.functional.one_hot(labels, 3).double()
    return CoreSample(phi, targets, torch.zeros_like(targets), labels)


@pytest.fixture(scope="module")
def core() -> CoreSample:
    return clouds(300, seed=0)


def plan(core, noise="inverse_hessian", mus=MUS, seed=0, **change):
    arguments = {"tolerance": 0.01, "expected_count": 5000, "kappa": 1e-3} | change
    return propose(core, noise, mus, generator=torch.Generator().manual_seed(seed), **arguments)


@pytest.mark.parametrize("noise", ["isotropic", "inverse_hessian"])
def test_the_tolerance_holds_on_fresh_records_and_four_times_the_noise_breaks_it(noise, core):
    """4,000 fresh records: the accuracy's standard error is about 0.004, three of them are allowed."""
    proposal = plan(core, noise)
    fresh = clouds(4000, seed=1)
    hessian = core.phi.mT @ core.phi / 300 + proposal.mu * torch.eye(12, dtype=torch.float64)
    weights = torch.linalg.solve(hessian, core.phi.mT @ core.targets / 300)

    def accuracy(sigma: float) -> float:
        bytes_of = random.Random(5).randbytes
        shares = []
        for _ in range(20):
            noised = weights + covariance_named(noise, sigma).draw(hessian, 3, bytes_of)
            shares.append(float(((fresh.phi @ noised).argmax(1) == fresh.labels).double().mean()))
        return sum(shares) / len(shares)

    assert accuracy(0.0) - accuracy(proposal.sigma) < 0.01 + 3 * 0.004
    assert accuracy(0.0) - accuracy(4 * proposal.sigma) > 0.01 + 3 * 0.004
    assert proposal.accuracy - proposal.noised_accuracy <= 0.01 + 1e-9


def test_kappa_is_what_the_residual_budget_spends(core):
    proposal = plan(core)
    noise = covariance_named("inverse_hessian", proposal.sigma)
    assert proposal.kappa == 1e-3
    assert cheap_bound(proposal.residual_budget, noise, proposal.mu) == pytest.approx(1e-3, rel=1e-9)


def test_kappa_is_raised_to_what_float64_can_show(core):
    proposal = plan(core, kappa=1e-40)
    assert 1e-40 < proposal.kappa < 1e-15


def test_equal_core_and_generator_give_the_equal_proposal(core):
    assert plan(core) == plan(core)


def test_more_tolerance_more_noise_less_exposure(core):
    strict, loose = plan(core, tolerance=0.002), plan(core, tolerance=0.05)
    assert strict.sigma < loose.sigma
    assert strict.exposure_worst > loose.exposure_worst


def test_exposure_falls_as_the_square_of_the_expected_count(core):
    few, many = plan(core, mus=(1e-2,), expected_count=2000), plan(core, mus=(1e-2,), expected_count=20_000)
    assert few.exposure_worst / many.exposure_worst == pytest.approx(100, rel=0.2)
    assert few.exposure_median <= few.exposure_worst


def test_inverse_hessian_noise_exposes_less_than_isotropic_at_equal_accuracy():
    """Columns of very different size, as feature maps have them: the isotropic noise is limited by the largest."""
    core = clouds(300, seed=2)
    uneven = replace(core, phi=core.phi * torch.logspace(0, -2, 12, dtype=torch.float64))
    shaped, flat = (plan(uneven, noise, mus=(1e-3,)) for noise in ("inverse_hessian", "isotropic"))
    assert shaped.exposure_worst < flat.exposure_worst


def test_features_per_output_give_the_same_proposal_as_shared_ones(core):
    """I (x) phi per output is the shared map written out; its weights are the same numbers in one column."""
    small = CoreSample(core.phi[:60, :4], core.targets[:60], core.outputs[:60], core.labels[:60])
    eye = torch.eye(3, dtype=torch.float64)
    written_out = replace(small, phi=torch.einsum("nd,ce->ncde", small.phi, eye).reshape(60, 3, 12))
    shared, per_output = (plan(each, "isotropic", mus=(1e-2,), tolerance=0.05) for each in (small, written_out))
    assert per_output.accuracy == shared.accuracy
    assert per_output.sigma == shared.sigma
    assert per_output.noised_accuracy == pytest.approx(shared.noised_accuracy, abs=1e-12)
    assert per_output.exposure_worst == pytest.approx(shared.exposure_worst, rel=1e-6)


def test_the_first_sigma_that_fails_ends_the_search():
    noised = [0.9] * len(SIGMAS)
    assert largest_within(noised, 0.9) == SIGMAS[-1]
    noised[10] = 0.8
    assert largest_within(noised, 0.9) == SIGMAS[9]
    assert largest_within([0.8] * len(SIGMAS), 0.9) is None


def test_bad_requests_are_named(core):
    broken = replace(core, phi=core.phi * math.nan)
    for call, error in (
        (lambda: plan(core, mus=()), OutOfRange),
        (lambda: plan(core, mus=(0.1, 0.1)), OutOfRange),
        (lambda: plan(core, mus=(0.0,)), OutOfRange),
        (lambda: plan(core, tolerance=-0.1), OutOfRange),
        (lambda: plan(core, expected_count=1), OutOfRange),
        (lambda: plan(core, kappa=0.0), OutOfRange),
        (lambda: plan(core, noise="laplace"), OutOfRange),
        (lambda: plan(clouds(9, seed=0)), OutOfRange),
        (lambda: plan(replace(core, labels=core.labels[:5])), ShapeMismatch),
        (lambda: plan(replace(core, outputs=core.outputs[:5])), ShapeMismatch),
        (lambda: plan(broken), NonFinite),
    ):
        with pytest.raises(error):
            call()


def test_the_exposure_is_that_of_a_version_of_real_users(core):
    proposal = plan(core, mus=(1e-2,))
    users = clouds(5000, seed=3)
    gram, cross = users.phi.mT @ users.phi, users.phi.mT @ users.targets
    noise = covariance_named("inverse_hessian", proposal.sigma)
    real = prepare(gram, cross, 5000, ScaledRidge(1e-2), noise).of(users.phi, users.targets)
    assert proposal.exposure_median == pytest.approx(float(real.median()), rel=0.3)
    assert proposal.exposure_worst == pytest.approx(float(real[:300].max()), rel=0.7)


def test_the_mu_of_least_exposure_is_taken(core):
    mus = (1e-3, 1e-1, 1.0)
    alone = {mu: plan(core, mus=(mu,), tolerance=0.05).exposure_worst for mu in mus}
    assert max(alone.values()) > 2 * min(alone.values())
    assert plan(core, mus=mus, tolerance=0.05).mu == min(alone, key=alone.get)


@pytest.mark.parametrize("count", [2, 12, 40])
def test_few_records_in_many_dimensions_have_a_finite_exposure(count):
    """A record that is not in the statistics would have a leverage over one here: mu is small, and n below d."""
    few = clouds(30, seed=3, width=60)
    proposal = plan(few, mus=(1e-6,), tolerance=0.5, expected_count=count)
    assert 0 < proposal.exposure_median <= proposal.exposure_worst < math.inf
