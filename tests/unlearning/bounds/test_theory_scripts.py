"""The scripts behind docs/theory.md show what the page says they show."""

import math

import numpy as np
import pytest

from benchmarks.theory import counterexample, misprints, shortcuts
from unlearning.noise.covariance import InverseHessian


@pytest.mark.parametrize("place", misprints.ROWS)
def test_as_printed_is_wrong_and_the_correction_right(place):
    printed, corrected = misprints.ROWS[place]()
    assert printed > 0.05
    assert corrected < 1e-13


def test_eq_6_41_is_below_the_truth_and_the_corrected_bounds_are_not():
    found = counterexample.figures()
    assert found.truth == pytest.approx(8.04e-4, rel=1e-2)
    assert found.printed == pytest.approx(4.36e-6, rel=1e-2)
    assert found.truth <= found.corrected <= found.beforehand
    assert found.corrected < 5 * found.truth


@pytest.mark.parametrize("alpha", [1e-3, 0.1, 1.0, 10.0, 1000.0])
def test_no_choice_of_alpha_saves_it(alpha):
    assert counterexample.figures(steps=120, alpha=alpha).printed < counterexample.figures(steps=120).truth / 10


def test_the_truth_does_not_fade_with_steps_as_eq_6_41_does():
    few, many = counterexample.figures(steps=40), counterexample.figures(steps=400)
    assert many.truth == pytest.approx(few.truth, rel=1e-3)
    assert many.printed < few.printed / 10


@pytest.mark.parametrize(("steps", "batch"), [(3, 2), (60, 4)])
def test_the_closed_form_is_what_descent_does(steps, batch):
    """200,000 descents. Size 5e-7 (5 errors); power: the variance of the batches halved moves the square by more."""
    phi, _ = counterexample.records(1000)
    mean, square = counterexample.moments_of_sgd(phi, steps, batch)
    runs = counterexample.simulate_sgd(phi, steps, batch, runs=200_000, seed=0)
    for draws, truth in ((runs, mean), (runs**2, square)):
        assert abs(draws.mean() - truth) < 5 * draws.std() / math.sqrt(len(draws))
    halved = counterexample.moments_of_sgd(phi, steps, 2 * batch)[1]
    assert abs(np.square(runs).mean() - halved) > 5 * np.square(runs).std() / math.sqrt(len(runs))


def test_shortcuts_under_report():
    joint, added, pseudo = shortcuts.nearly_equal_queries()
    assert joint == pytest.approx(1.0, rel=1e-6)
    assert max(added, pseudo) < 1e-15
    assert shortcuts.sigma_from_the_forgotten() == pytest.approx(6.3, abs=0.1)
    ratio = shortcuts.worst_exposure(InverseHessian(0.1), 1000) / shortcuts.worst_exposure(InverseHessian(0.1), 10_000)
    assert 50 < ratio < 200


def test_the_scripts_print(capsys):
    for script in (counterexample, misprints, shortcuts):
        script.main()
    printed = capsys.readouterr().out
    assert "eq. 6.41 as printed" in printed
    assert "by a pseudo-inverse" in printed
