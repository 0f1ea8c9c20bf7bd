"""The demo's two tables: what was forgotten and how well, and what it took."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table

from service.demo.baselines import Baseline
from service.demo.forgetting import Forgotten
from service.demo.never_saw import Comparison


@dataclass(frozen=True, slots=True)
class Outcome:
    """A fulfilled wish and its comparison with a service that never saw the records."""

    done: Forgotten
    comparison: Comparison


@dataclass(frozen=True, slots=True)
class Costs:
    """Other ways to forget, in seconds. rebuild: summing all retained records anew and solving, inside the service."""

    network: Baseline
    linear: Baseline
    rebuild_seconds: float
    rebuild_equal: bool


def accuracy_table(outcomes: Sequence[Outcome]) -> Table:
    """Return accuracies before and after, beside those of the services that never saw the records."""
    table = Table(title="What was forgotten", title_justify="left", title_style="bold", header_style="bold")
    table.add_column("")
    for outcome in outcomes:
        table.add_column(outcome.done.wish.title, justify="right")
    table.add_row("records", *(str(o.done.records) for o in outcomes), end_section=True)
    for name, words in (("test", "test digits"), ("forgotten", "forgotten digits"), ("retained", "retained digits")):
        table.add_row(f"{words}, before", *(_percent(getattr(o.done.before, name)) for o in outcomes))
        table.add_row(f"{words}, after", *(f"[bold]{_percent(getattr(o.done.after, name))}[/]" for o in outcomes))
        table.add_row(
            f"{words}, never saw them",
            *(_percent(getattr(o.comparison.measured, name)) for o in outcomes),
            end_section=True,
        )
    table.add_row("information left (certificate)", *(f"{o.done.certificate.state_nats:g} nats" for o in outcomes))
    table.add_row("same bytes as never-saw", *("yes" if o.comparison.equal else "[red]NO[/]" for o in outcomes))
    table.add_row("answers given meanwhile", *(_traffic(o.done) for o in outcomes))
    return table


def cost_table(outcomes: Sequence[Outcome], costs: Costs) -> Table:
    """Return the seconds that forgetting took, and how many times longer the other ways take."""
    table = Table(title="What it took, in seconds", title_justify="left", title_style="bold", header_style="bold")
    table.add_column("")
    table.add_column("seconds", justify="right")
    for outcome in outcomes:
        table.add_column(f"vs. {outcome.done.wish.title}", justify="right")
    for index, outcome in enumerate(outcomes):
        cells = ["1x" if index == other else "" for other in range(len(outcomes))]
        table.add_row(
            f"Lacuna: {outcome.done.wish.title}, request to certificate", _seconds(outcome.done.seconds), *cells
        )
    table.add_section()
    for words, seconds in (
        ("train the network again, 50 epochs", costs.network.seconds),
        ("train only the last layer again, 50 epochs", costs.linear.seconds),
        ("sum everything up again and solve", costs.rebuild_seconds),
        ("set up a service that never saw them", outcomes[-1].comparison.seconds),
    ):
        table.add_row(words, _seconds(seconds), *(f"{seconds / o.done.seconds:.1f}x" for o in outcomes))
    return table


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _seconds(seconds: float) -> str:
    return f"{seconds:.2f}"


def _traffic(done: Forgotten) -> str:
    return f"{done.answered}" + (f" ({done.refused} refused)" if done.refused else "")
