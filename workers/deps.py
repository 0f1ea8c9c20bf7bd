"""What a job needs, built once per process and handed in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor

from ledger.ledger import Ledger
from unlearning.architectures import BUILT_IN, Architectures
from unlearning.exact_solver import ExactSolution, solve_exact
from unlearning.gcv import MuChoice, choose_mu
from unlearning.linear.krylov import solve_krylov
from unlearning.linear.sgd import solve_sgd
from unlearning.linear.solution import Solution
from unlearning.noise.covariance import Covariance
from unlearning.noise.gaussian import RandomBytes
from unlearning.quantization import QuantizationPlan
from unlearning.rows import QuantizedRows
from unlearning.statistics import CPU, Statistics
from workers import code

Fold = Callable[[Statistics, QuantizedRows, QuantizedRows, QuantizationPlan], Statistics]
Solve = Callable[..., ExactSolution]
ChooseMu = Callable[..., MuChoice]
Iterate = Callable[..., Solution]
Draw = Callable[[Covariance, Tensor, int, RandomBytes], Tensor]


def fold(
    before: Statistics,
    added: QuantizedRows,
    removed: QuantizedRows,
    plan: QuantizationPlan,
    device: torch.device = CPU,
) -> Statistics:
    """Return the statistics after a change: the same integers that were added are subtracted.

    `device` multiplies. Its products are exact (workers/self_test.py), so the bytes are those of every other device.
    """
    return before.plus(added, plan, device).minus(removed, plan, device)


def draw(covariance: Covariance, hessian: Tensor, columns: int, random: RandomBytes) -> Tensor:
    """Return noise (d, columns) for weights whose loss has this Hessian (d, d)."""
    return covariance.draw(hessian, columns, random)


def nothing(_point: str) -> None:
    """Go on: this is where a test may kill the process."""


@dataclass(frozen=True, slots=True)
class Deps:
    """A worker's dependencies.

    `fold`, `solve`, `krylov`, `sgd`, `draw` and `choose_mu` are the mathematics (the tests of the checks hand in faulty
    ones), `point` is called with a name at every place between which a process may die (docs/flows.md). `architectures`
    are the networks that may be named. `code`: what certificates say about the program that made them.
    `device`: what trains cores.
    """

    ledger: Ledger
    worker: str
    clock_us: Callable[[], int]
    wait_s: Callable[[float], None]
    lease_us: int
    slice_us: int
    clock_skew_us: int
    backup_days: int
    fold: Fold = field(default=fold)
    solve: Solve = field(default=solve_exact)
    krylov: Iterate = field(default=solve_krylov)
    sgd: Iterate = field(default=solve_sgd)
    draw: Draw = field(default=draw)
    choose_mu: ChooseMu = field(default=choose_mu)
    point: Callable[[str], None] = field(default=nothing)
    architectures: Architectures = BUILT_IN
    code: Mapping[str, str] = field(default_factory=code.installed)
    device: torch.device = CPU


def on_device(deps: Deps, device: torch.device) -> Deps:
    """Return the same dependencies, with a device that has passed its test for training cores and summing integers."""
    return replace(deps, device=device, fold=partial(fold, device=device))
