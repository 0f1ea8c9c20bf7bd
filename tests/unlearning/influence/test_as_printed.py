"""The dissertation's equations 5.7 and 5.8 as printed are not the change that a refit shows; the corrected ones are."""

import pytest
import torch
from support.influence_cases import Case, make_case

from unlearning.influence.fitted import Ridge
from unlearning.influence.leave_one_out import SharedChanges, changes_of_each
from unlearning.linear.features import SharedFeatures

N, MU = 40, 0.05


@pytest.fixture(scope="module")
def case() -> Case:
    """One output, as in the derivation of section 5.4.3, and w_ref = 0."""
    return make_case("shared", n=N, d=6, classes=1, mu=MU, seed=11, referenced=False)


def changed(case: Case, ridge: Ridge) -> torch.Tensor:
    """f_w - f_w_-i at the test records, (n, m), by refitting."""
    truth = [case.fitted.weights - case.without(torch.tensor([i]), ridge) for i in range(N)]
    return torch.stack([case.at.apply(change)[:, 0] for change in truth])


def printed(case: Case, form: str) -> torch.Tensor:
    """Equation 5.8: (1 - alpha_i / (N - 1 + alpha_i)) e_i g_test (F + lambda I)^-1 g_i, with e_i = (y - g_i w) / N."""
    phi, at = case.fitted.features.phi, case.at.phi
    inverse = torch.linalg.inv(case.fitted.gram / N + MU * torch.eye(6, dtype=torch.float64))
    alpha = ((phi @ inverse) * phi).sum(1)
    error = case.fitted.errors[:, 0] / (1 if form == "error unweighted" else N)
    factor = 1 - alpha / (N - 1 + alpha) if form != "sign of alpha turned" else 1 + alpha / (N - alpha)
    changes: torch.Tensor = (factor * error).unsqueeze(1) * (phi @ inverse @ at.mT)
    return changes


def worst(found: torch.Tensor, truth: torch.Tensor) -> float:
    """Largest relative error of a record's row."""
    return float(((found - truth).norm(dim=1) / truth.norm(dim=1)).max())


@pytest.mark.parametrize("ridge", Ridge)
def test_ours_is_exact_and_what_is_printed_is_not(case: Case, ridge: Ridge) -> None:
    truth = changed(case, ridge)
    (changes,) = changes_of_each(case.fitted, ridge)
    assert isinstance(changes, SharedChanges)
    assert isinstance(case.at, SharedFeatures)
    assert worst(-changes.predictions(case.at)[:, :, 0], truth) < 1e-11
    assert worst(printed(case, "as printed"), truth) > 0.05
    assert worst(printed(case, "error unweighted"), truth) > 10
    # With a fixed ridge the one thing that is wrong with 5.8 is how alpha enters: e / (N - alpha).
    assert (worst(printed(case, "sign of alpha turned"), truth) < 1e-11) == (ridge is Ridge.FIXED)
