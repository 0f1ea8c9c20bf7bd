"""Part 1, the papers' own map: the tangent of the core network, restricted to a public subspace and in full.

The subspace (the top of the core Fisher's Kronecker eigenbasis over the last convolution, the hidden and the output
layer) is solved exactly with mu by generalized cross-validation, like the shared maps. The full tangent of the hidden
and the output layer has no statistics: it is solved by conjugate gradients, with the mu that does best on a fifth of
the users that is held out, then on everybody.
"""

import torch
from torch import Tensor

from benchmarks.results.accuracy import exact_map
from benchmarks.results.readouts import error
from benchmarks.results.record import Record
from benchmarks.results.worlds import World
from unlearning.feature_maps.tangent_features import TangentFeatures, tangent_features
from unlearning.linear.krylov import run_cycle
from unlearning.linear.preconditioner import Identity
from unlearning.linear.problem import RetainedProblem
from unlearning.public_model import DEFAULT_ALPHA

HIDDEN_LAYERS = ("hidden", "hidden_norm", "output")
BLOCK_LAYERS = ("convolutions.2", "norms.2", *HIDDEN_LAYERS)
RELATIVE_MUS = (1e-4, 1e-3, 1e-2)
"""Candidates of mu, times the mean over parameters of the squared derivative on core records."""
ENOUGH = 1e-3
"""The gradient is driven below this share of its start: accuracy does not change any more."""
PRODUCTS = 150
BATCH = 256
HELD_OUT = 5
DTYPE = torch.float32


def measure(record: Record, world: World, *, width: int) -> None:
    """Add both rows; `width` is the subspace's."""
    subspace(record, world, width)
    full(record, world)


def subspace(record: Record, world: World, width: int) -> None:
    """Add the test error of the exact solution on the tangent subspace."""
    common = {"seed": world.seed, "users": world.deal.users.count, "core": world.deal.core.count}
    record.add(**common, method="tangent subspace", **exact_map(world, "tangent", width))


def full(record: Record, world: World, layers: tuple[str, ...] = HIDDEN_LAYERS, mu: float | None = None) -> None:
    """Add the test error of the full tangent in `layers`; without a relative mu it is chosen on held-out users."""
    users, test = world.deal.users, world.deal.test
    spec, network = world.model.input_spec, world.model.network
    made = [
        tangent_features(network, spec.prepare(part.x), parameters=layers, cut_early=True, batch=BATCH, dtype=DTYPE)
        for part in (world.deal.core, users, test)
    ]
    unit = mean_square(made[0], world.model.classes)
    targets = (
        DEFAULT_ALPHA * torch.nn.functional.one_hot(world.labels(users), world.model.classes) - made[1].core_outputs()
    )
    if mu is None:
        mu = chosen_mu(made[1], targets, world.labels(users), unit, world.seed)
    weights, products = solve(made[1], targets, mu * unit)
    logits = made[2].core_outputs() + made[2].apply(weights)
    record.add(
        seed=world.seed,
        users=users.count,
        core=world.deal.core.count,
        method="full tangent block" if layers == BLOCK_LAYERS else "full tangent hidden",
        error=error(logits, world.labels(test)),
        width=made[1].weight_shape[0],
        relative_mu=mu,
        products=products,
    )


def chosen_mu(features: TangentFeatures, targets: Tensor, labels: Tensor, unit: float, seed: int) -> float:
    """Return the candidate with the smallest error on a fifth of the users, when the others are learned from."""
    order = torch.randperm(features.count, generator=torch.Generator().manual_seed(seed))
    held, learned = order[: len(order) // HELD_OUT], order[len(order) // HELD_OUT :]
    tested = features.take(held)
    core = tested.core_outputs()
    errors = {}
    for candidate in RELATIVE_MUS:
        weights, _ = solve(features.take(learned), targets[learned], candidate * unit)
        errors[candidate] = error(core + tested.apply(weights), labels[held])
    return min(errors, key=errors.__getitem__)


def solve(features: TangentFeatures, targets: Tensor, mu: float) -> tuple[Tensor, int]:
    """Return weights (k, 1) and the products used, from w = 0 to a thousandth of the first gradient."""
    problem = RetainedProblem(features, targets, mu)
    start = problem.gradient(problem.reference)
    cycle = run_cycle(problem, -start, Identity(), ENOUGH * float(torch.linalg.norm(start)), PRODUCTS)
    return cycle.step, cycle.products


def mean_square(features: TangentFeatures, classes: int) -> float:
    """Return tr(J^T J) / (n k) over some records, estimated by random signs (Hutchinson 1990)."""
    generator = torch.Generator().manual_seed(0)
    some = features.take(torch.arange(min(BATCH, features.count)))
    signs = torch.randint(0, 2, (some.count, classes), generator=generator, dtype=torch.float64) * 2 - 1
    per_record = [some.take(torch.tensor([i])).adjoint(signs[i : i + 1]).square().sum() for i in range(some.count)]
    return float(torch.stack(per_record).mean()) / some.weight_shape[0]
