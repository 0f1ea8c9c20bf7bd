"""Part 2: ways to forget, side by side: read-outs, distance to a retrained model, nats, seconds."""

from benchmarks.results import forget_exact, forget_iterative, forget_retrain
from benchmarks.results.linear import linear
from benchmarks.results.record import Record
from benchmarks.results.scenarios import note, scenarios
from benchmarks.results.worlds import World, mapped

MU = 3e-2
SIGMA = 1e-3
"""Both fixed and public, as they have to be under noise. Targets are 5 for the true class, 0 for the others."""
SHARDS = (5, 20)
EPOCHS_OF_SGD = (1, 3, 10)


def measure(record: Record, world: World, *, feature_map: str, epochs: int) -> None:
    """Add one row per scenario and method. `epochs` train the last layers again in the non-linear rivals."""
    made = mapped(world, feature_map)
    exact = forget_exact.prepare(made, MU)
    trained = forget_iterative.train(linear(made, MU), SIGMA, world.seed)
    tuning = forget_retrain.prepare(world, epochs)
    for scenario in scenarios(world):
        note(record, world, scenario, "nothing done", forget_exact.never_forgot(exact, scenario))
        note(record, world, scenario, "exact", forget_exact.by_subtraction(exact, scenario))
        note(record, world, scenario, "sum up and solve again", forget_exact.by_summing_up_again(exact, scenario))
        done = forget_iterative.by_krylov(trained, scenario)
        note(record, world, scenario, "krylov", forget_iterative.outcome(trained, scenario, done))
        for passes in EPOCHS_OF_SGD:
            done = forget_iterative.by_sgd(trained, scenario, passes)
            note(record, world, scenario, f"sgd, {passes} epochs", forget_iterative.outcome(trained, scenario, done))
        note(record, world, scenario, "train again", forget_retrain.by_retraining(tuning, scenario))
        for shards in SHARDS:
            outcome = forget_retrain.by_shards(tuning, scenario, shards)
            note(record, world, scenario, f"SISA, {shards} shards", outcome)
