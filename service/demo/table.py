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
    """Other ways to forget, in seconds. rebuild: summing all retained features anew and solving, inside the service."""

    network: Baseline
    linear: Baseline
    rebuild_seconds: float
    rebuild_equal: bool


def accuracy_table(outcomes: Sequence[Outcome]) -> Table:
    """Return accuracies before and after, beside those of the services that never saw the records."""
    table = _table("What was forgotten", outcomes)
    table.add_row("records", *(str(o.done.records) for o in outcomes), end_section=True)
    for name, words in (("test", "test digits"), ("forgotten", "forgotten digits"), ("retained", "retained digits")):
        table.add_row(f"{words}, before", *(_percent(getattr(o.done.before, name)) for o in outcomes))
        table.add_row(f"{words}, after", *(f"[bold]{_percent(getattr(o.done.after, name))}[/]" for o in outcomes))
        never = (_percent(getattr(o.comparison.measured, name)) for o in outcomes)
        table.add_row(f"{words}, never saw them", *never, end_section=True)
    table.add_row("information left, certified", *(f"{o.done.certificate.state_nats:g} nats" for o in outcomes))
    table.add_row("same bytes as never-saw", *("yes" if o.comparison.equal else "[red]NO[/]" for o in outcomes))
    table.add_row("predictions served meanwhile", *(str(o.done.answered) for o in outcomes))
    table.add_row("predictions refused meanwhile", *(str(o.done.refused) for o in outcomes))
    return table


def cost_table(outcomes: Sequence[Outcome], costs: Costs) -> Table:
    """Return the seconds that forgetting took, and how many times longer the other ways take."""
    table = _table("What it took", outcomes)
    table.add_row("request to certificate", *(f"[bold]{o.done.seconds:.2f} s[/]" for o in outcomes))
    table.add_row("  of it: new weights, checked", *(f"{o.done.weights_seconds:.2f} s" for o in outcomes))
    table.add_section()
    for words, seconds in (
        ("network again, 50 epochs", costs.network.seconds),
        ("last layer again, 50 epochs", costs.linear.seconds),
        ("sum up again and solve", costs.rebuild_seconds),
        ("a new service without them", outcomes[-1].comparison.seconds),
    ):
        table.add_row(f"{words}: {seconds:.2f} s", *(f"{seconds / o.done.seconds:.1f}x" for o in outcomes))
    return table


def _table(title: str, outcomes: Sequence[Outcome]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", header_style="bold")
    table.add_column("", min_width=36)
    for outcome in outcomes:
        table.add_column(outcome.done.wish.title, justify="right")
    return table


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
