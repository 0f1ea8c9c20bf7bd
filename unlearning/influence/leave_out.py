"""The exact change when a group of records is left out.

With m records S left out and the ridge going from n mu to rho, the new minimiser is
w_-S = w + (A - A_S + rho I)^-1 ((n mu - rho)(w - w_ref) - Phi_S^T e_S), where e_S = t_S - Phi_S w: one Newton step of
the retained loss, which ends exactly at its minimiser. The dissertation prints eq. 5.7 with J and J^T exchanged, the
factor e missing and 1/N mixed with 1/(N-1); this form holds for any group, for both ridges and for a shared or
per-output map. Changes are "without" minus "with".
"""

import torch
from torch import Tensor

from unlearning.errors import OutOfRange, ShapeMismatch
from unlearning.influence.fitted import Fitted, Ridge, StoredFeatures, factor, gram_of, solve


def change_of_weights(fitted: Fitted, group: Tensor, ridge: Ridge = Ridge.PER_RECORD) -> Tensor:
    """Return w_-S - w, (d, q), for the records in `group`, int64 (m,); O(m d^2 + d^3). Without any record it is w_ref.

    Raises OutOfRange: a group larger than n, or an index outside it or named twice; ShapeMismatch; ProblemRefused.
    """
    problem = fitted.problem
    check_group(group, fitted.count)
    left_out = int(group.numel())
    if left_out == fitted.count:
        return problem.reference - fitted.weights
    if not left_out:
        return torch.zeros_like(fitted.weights)
    rows = fitted.features.take(group)
    rho = ridge.after(problem, left_out)
    lost_ridge = problem.count * problem.mu - rho
    step = lost_ridge * (fitted.weights - problem.reference) - rows.adjoint(fitted.errors[group])
    return solve(factor(fitted.gram - gram_of(rows), rho), step)


def change_of_predictions(fitted: Fitted, group: Tensor, at: StoredFeatures, ridge: Ridge = Ridge.PER_RECORD) -> Tensor:
    """Return f_-S - f, (m', C), at the m' records of `at`. Raises as `change_of_weights`; ShapeMismatch."""
    check_same_map(fitted, at)
    return at.apply(change_of_weights(fitted, group, ridge))


def check_group(group: Tensor, count: int) -> None:
    """Raise unless `group` names some of `count` records, each once."""
    if group.ndim != 1 or group.dtype != torch.int64:
        raise ShapeMismatch("group", (tuple(group.shape), group.dtype), ("(m,)", torch.int64))
    if group.numel() > count:
        raise OutOfRange("records in the group", int(group.numel()), f"at most the {count} there are")
    if group.numel() and not 0 <= int(group.min()) <= int(group.max()) < count:
        raise OutOfRange("index of a record", (int(group.min()), int(group.max())), f"0 to {count - 1}")
    if torch.unique(group).numel() != group.numel():
        raise OutOfRange("group", "a list that names a record twice", "each record once")


def check_same_map(fitted: Fitted, at: StoredFeatures) -> None:
    """Raise ShapeMismatch unless `at` has features of the fitted map."""
    got, expected = ((type(one).__name__, one.weight_shape, one.outputs) for one in (at, fitted.features))
    if got != expected:
        raise ShapeMismatch("map, weights' shape and outputs", got, expected)
