"""Part 3: the dissertation's figures 6.2, 6.4, 6.5 and 6.8, on a map's mixed-linear model.

Everywhere a tenth of the users is forgotten in ten requests by the paper's descent, with isotropic noise. Noted are the
nats left, summed over the requests, by the bound from the measured residual; the exact divergence of the last release,
||w - w*||^2 / (2 sigma^2), which needs the retrained weights; and the test error of what is published.
"""

from dataclasses import replace

import numpy as np
import torch

from benchmarks.results.data import Deal, Part, Source, deal
from benchmarks.results.forget_iterative import by_sgd, train
from benchmarks.results.linear import Linear, linear
from benchmarks.results.readouts import error
from benchmarks.results.record import Record
from benchmarks.results.scenarios import scenarios
from benchmarks.results.worlds import World, mapped
from unlearning.linear.sgd import ResidualGradient

MU = 3e-2
SIGMA = 1e-3
EPOCHS = 3
SIGMAS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
PASSES = (1, 2, 3, 5, 10)
MUS = (1e-4, 1e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)
SHARES = (0.0, 0.3, 1.0)
"""How much of the core has the users' classes, figure 6.5."""


def noise_and_iterations(record: Record, world: World, feature_map: str, width: int | None) -> None:
    """Figures 6.2 and 6.4: sweep sigma with the complete and the stochastic residual gradient, then the passes."""
    model = linear(mapped(world, feature_map, width=width), MU)
    for gradient in ResidualGradient:
        for sigma in SIGMAS:
            point(record, world, model, sweep="noise", sigma=sigma, epochs=EPOCHS, gradient=gradient)
    for epochs in PASSES:
        point(record, world, model, sweep="epochs", sigma=SIGMA, epochs=epochs)


def regularization(record: Record, world: World, feature_map: str, width: int | None) -> None:
    """Figure 6.8: sweep mu."""
    model = linear(mapped(world, feature_map, width=width), MU)
    for mu in MUS:
        point(record, world, model.with_mu(mu), sweep="mu", sigma=SIGMA, epochs=EPOCHS)


def core_share(record: Record, world: World, feature_map: str, width: int | None) -> None:
    """Figure 6.5: sweep sigma; how much of the world's core has the users' classes is told by its labels."""
    share = float(np.isin(world.deal.core.y, world.deal.users.y).mean())
    model = linear(mapped(world, feature_map, width=width), MU)
    record.add(
        seed=world.seed,
        sweep="core",
        share=share,
        core_only_error=restricted_error(world, world.test.logits.double()),
        trained_error=restricted_error(world, model.test_logits(model.retrained())),
    )
    for sigma in SIGMAS:
        point(record, world, model, sweep="core", sigma=sigma, epochs=EPOCHS, share=share)


def point(
    record: Record,
    world: World,
    model: Linear,
    *,
    sweep: str,
    sigma: float,
    epochs: int,
    gradient: ResidualGradient = ResidualGradient.COMPLETE,
    share: float | None = None,
) -> None:
    """Forget and note one point of a curve."""
    scenario = scenarios(world)[0]
    trained = train(model, sigma, world.seed)
    done = by_sgd(trained, scenario, epochs, gradient)
    gone = scenario.forgotten(world.deal.users.count)
    reference = model.retrained(gone)
    users = model.users_logits(done.published)
    record.add(
        seed=world.seed,
        sweep=sweep,
        mu=model.mu,
        sigma=sigma,
        epochs=epochs,
        gradient=gradient.value,
        share=share,
        nats=sum(done.nats),
        last_divergence=float((done.solved - reference).square().sum()) / (2 * sigma**2),
        test_error=restricted_error(world, model.test_logits(done.published)),
        forget_error=error(users[gone], world.labels(world.deal.users)[gone]),
        retrained_error=restricted_error(world, model.test_logits(reference)),
        seconds=sum(done.seconds) / len(done.seconds),
    )


def restricted_error(world: World, logits: torch.Tensor) -> float:
    """Return the error among the classes that the test records have."""
    labels = world.labels(world.deal.test)
    held = torch.unique(labels)
    masked = torch.full_like(logits, -torch.inf)
    masked[:, held] = logits[:, held]
    return error(masked, labels)


def deal_with_share(source: Source, *, users: int | None, seed: int, share: float) -> Deal:
    """Return a deal whose users have half the classes, and whose core, always as large, has `share` of it from these.

    The classes are halved at random by the seed; the other part of the core has the other half.
    """
    generator = torch.Generator().manual_seed(seed)
    half = torch.randperm(source.classes, generator=generator)[: source.classes // 2]
    near = torch.isin(torch.from_numpy(source.train.y), half).numpy()
    tested = torch.isin(torch.from_numpy(source.test.y), half).numpy()
    dealt = deal(replace(source, train=source.train.take(near), test=source.test.take(tested)), users=users, seed=seed)
    size = dealt.core.count
    own = round(share * size)
    order = torch.randperm(int((~near).sum()), generator=generator)[: size - own].numpy()
    other = source.train.take(~near).take(order)
    core = Part(np.concatenate([dealt.core.x[:own], other.x]), np.concatenate([dealt.core.y[:own], other.y]))
    return replace(dealt, core=core, name=f"{source.name}-share-{share:g}")
