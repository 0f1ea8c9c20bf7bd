"""Measure one part, or make the tables and plots of docs/results.md from what was measured.

    python -m benchmarks.results accuracy --data-dir PATH         1: core, shared maps, fine-tuning
    python -m benchmarks.results tangents --data-dir PATH         1: the tangent map, in a subspace and in full
    python -m benchmarks.results large --data-dir PATH            1: the same without tangents, 54,000 users
    python -m benchmarks.results forgetting --data-dir PATH       2: ways to forget
    python -m benchmarks.results noise --data-dir PATH            3: figures 6.2 and 6.4
    python -m benchmarks.results core-share --data-dir PATH       3: figure 6.5
    python -m benchmarks.results regularization --data-dir PATH   3: figure 6.8
    python -m benchmarks.results speed                            4: deletions per second
    python -m benchmarks.results report                           tables and plots from the files

`cores` only trains the public cores ahead, for --cache. Digits need no --data-dir. Every part writes
PART-DATA.json into --out after each seed.
"""

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch

from benchmarks.results import accuracy, forgetting, report, speed, sweeps, tangents
from benchmarks.results.data import Deal, deal, load
from benchmarks.results.record import Record
from benchmarks.results.worlds import World, make_world

USERS = {"digits": None, "fashion": 5000, "cifar": None}
"""Users where a method passes over the records; None: all there are, 1,170 digits and 9,000 images of CIFAR."""
FINE_TUNING_EPOCHS = 10
LARGE_EPOCHS, LARGE_RATES = 5, (3e-3,)
"""With ten times the records; the rate that did best with fewer."""
RETRAINING_EPOCHS = {"digits": 30, "fashion": 20, "cifar": 10}
"""Of retraining and of SISA, whose small shards need them."""
SHARED_MAP = "pooled"
SUBSPACE = {"digits": 1024, "fashion": 1024, "cifar": 512}
SWEPT = {"digits": ("tangent", 1024), "fashion": ("pooled", None), "cifar": ("pooled", None)}
"""Map and width of the figures: the papers' own where it is affordable."""

SPEED_WIDTH = 1024

Measure = Callable[[Record, World], None]
MEASURES: dict[str, Callable[[str, int | None], Measure]] = {
    "cores": lambda name, width: lambda record, world: None,
    "accuracy": lambda name, width: partial(accuracy.measure, epochs=FINE_TUNING_EPOCHS),
    "tangents": lambda name, width: partial(tangents.measure, width=width or SUBSPACE[name]),
    "large": lambda name, width: partial(accuracy.measure, epochs=LARGE_EPOCHS, rates=LARGE_RATES),
    "forgetting": lambda name, width: partial(
        forgetting.measure, feature_map=SHARED_MAP, epochs=RETRAINING_EPOCHS[name]
    ),
    "noise": lambda name, width: partial(
        sweeps.noise_and_iterations, feature_map=SWEPT[name][0], width=width or SWEPT[name][1]
    ),
    "core-share": lambda name, width: partial(
        sweeps.core_share, feature_map=SWEPT[name][0], width=width or SWEPT[name][1]
    ),
    "regularization": lambda name, width: partial(
        sweeps.regularization, feature_map=SWEPT[name][0], width=width or SWEPT[name][1]
    ),
}


def deals(options: argparse.Namespace, name: str) -> Iterator[Deal]:
    """Return the deals of one part: one per seed, and per share of the core where that is swept."""
    source = load(name, options.data_dir)
    users = None if options.part == "large" else options.users or USERS[name]
    for seed in range(options.seeds):
        if options.part == "core-share":
            for share in sweeps.SHARES:
                yield sweeps.deal_with_share(source, users=users, seed=seed, share=share)
        else:
            yield deal(source, users=users, seed=seed, test=options.test)


def fill(options: argparse.Namespace, name: str) -> None:
    """Measure the part on one data set with every seed; write its record after each."""
    measure = MEASURES[options.part](name, options.width)
    record = Record(options.part, name, {"seeds": list(range(options.seeds))})
    for dealt in deals(options, name):
        print(f"{options.part} {dealt.name}: seed {dealt.seed}", flush=True)
        measure(record, make_world(dealt, epochs=options.core_epochs, cache=options.cache))
        if record.rows:
            record.write(options.out)


def deletions(options: argparse.Namespace) -> None:
    """Measure part 4."""
    width = options.width or SPEED_WIDTH
    record = Record("speed", "synthetic", {"mu": speed.MU, "classes": speed.PLAN.classes})
    speed.measure(
        record,
        records=options.users or 20_000,
        width=width,
        batches=options.batches,
        widths=[width // 4, width // 2, width * 2],
        repeats=options.repeats,
    )
    record.write(options.out)


def main(arguments: list[str] | None = None) -> None:
    """Read the command line and run the part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=[*MEASURES, "speed", "report"])
    parser.add_argument("--data", nargs="+", choices=list(USERS), default=list(USERS))
    parser.add_argument("--data-dir", type=Path, help="the folder with fashion_mnist.npz and cifar100_subset.npz")
    parser.add_argument("--out", type=Path, default=Path("docs/results"), help="where the files of numbers are")
    parser.add_argument("--document", type=Path, default=Path("docs/results.md"), help="where report puts its tables")
    parser.add_argument("--cache", type=Path, help="keeps trained cores and activations, so that parts share them")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--users", type=int, help="how many users, instead of the part's own choice")
    parser.add_argument("--test", type=int, help="how many test records, instead of all")
    parser.add_argument("--core-epochs", type=int, help="instead of the number that follows from the core's size")
    parser.add_argument("--width", type=int, help="k of speed, or of the tangent subspace")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 10, 100, 1000, 10_000], help="of the part speed")
    parser.add_argument("--repeats", type=int, default=7, help="of the part speed")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    if options.part == "speed":
        deletions(options)
    elif options.part == "report":
        from benchmarks.results import plots  # only this part needs matplotlib

        drawn = [path.name for path in plots.draw(options.out)]
        print("\n".join(report.write(options.document, options.out) + drawn))
    else:
        for name in ["fashion"] if options.part == "large" else options.data:
            fill(options, name)


if __name__ == "__main__":
    main()
