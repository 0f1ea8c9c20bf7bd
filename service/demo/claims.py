"""What the demo claims, each checked against what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from service.demo.forgetting import Forgotten
from service.demo.never_saw import Comparison
from service.demo.telling import INDENT

COLLAPSED = 0.1
"""A class that nobody teaches any more is recognised less often than by guessing among ten."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A sentence, and whether it was found to hold."""

    words: str
    holds: bool


def claims_about(done: Forgotten, comparison: Comparison) -> list[Claim]:
    """Return the claims about one fulfilled wish."""
    title, after, never = done.wish.title, done.after, comparison.measured
    found = [
        Claim(
            f"{title}: weights and statistics equal those of a service that never saw it, byte for byte",
            comparison.equal and comparison.public_equal,
        ),
        Claim(f"{title}: before the forgetting they were different", comparison.differed_before),
        Claim(
            f"{title}: both services give the same probabilities for every test digit, to the last bit",
            after.test_answers.same_as(never.test_answers),
        ),
        Claim(f"{title}: both have the same accuracy on the test digits", after.test == never.test),
        Claim(f"{title}: the certificate's signature verifies", done.certificate.valid),
        Claim(
            f"{title}: the certificate bounds what is left by 0 nats",
            done.certificate.output_nats == 0.0 and done.certificate.state_nats == 0.0,
        ),
        Claim(
            f"{title}: no question asked after the completion was answered from an older version",
            bool(done.late_versions) and min(done.late_versions) >= done.version,
        ),
    ]
    if done.wish.label is not None:
        found.append(
            Claim(
                f"{title}: it is no longer recognised ({after.forgotten:.1%} of its digits)",
                after.forgotten < COLLAPSED < done.before.forgotten,
            )
        )
    return found


def tell(console: Console, claims: Sequence[Claim]) -> None:
    """List the claims with what was found, and count them."""
    table = Table.grid(padding=(0, 2, 0, 0))
    for claim in claims:
        table.add_row("[green]ok[/]" if claim.holds else "[bold red]FAILED[/]", Text(claim.words))
    console.print("[bold]Claims[/]")
    console.print(Padding(table, (0, 0, 0, INDENT), expand=False))
    failed = sum(not claim.holds for claim in claims)
    style = "bold red" if failed else "bold green"
    console.print(f"\n{len(claims) - failed} of {len(claims)} claims hold.", style=style)
