"""The demo from beginning to end, told while it happens."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from service.client_errors import ApiProblem
from service.demo import baselines
from service.demo.claims import Claim, claims_about
from service.demo.data import DemoData, Records, load_data
from service.demo.deployment import Deployment, deploy
from service.demo.forgetting import Wish, forget
from service.demo.never_saw import compare, fresh_challenge, prove
from service.demo.running_service import RunningService, running_service
from service.demo.table import Costs, Outcome, accuracy_table, cost_table

SUPPRESSED = 409
ONE = Wish("person-017", subjects=("person-017",))
EVERY_SIX = Wish("every 6", label=6)
TEN = Wish("ten people", subjects=tuple(f"person-{number:03d}" for number in range(100, 110)))


def run(data_dir: Path | None, *, keep: bool, core: bool, as_json: bool) -> bool:
    """Play the whole demo; return whether every claim held. With `keep`, serve until Ctrl-C before returning.

    Raises DemoDataMissing, ServerDidNotStart and what the client raises.
    """
    console = Console(stderr=as_json, highlight=False)
    data = load_data()
    with ExitStack() as stack:
        folder = data_dir or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lacuna-demo-")))
        console.print("[bold]Lacuna: a service that forgets people, exactly[/]\n")
        console.print("[bold]1.[/] Starting a real server with an empty data directory.")
        service = stack.enter_context(running_service(folder / "service"))
        console.print(f"   It answers at {service.url}. From here on we only talk HTTP to it.\n")
        deployment = _set_up(service, data, console)
        wishes = (ONE,) if core else (ONE, EVERY_SIX, TEN)
        outcomes, claims = _forget_all(service, deployment, data, wishes, folder, console)
        claims.append(_returns(deployment, data, console))
        costs = None if core else _costs(deployment, data, outcomes, console)
        if costs is not None:
            claims.append(
                Claim("the statistics equal a sum over all stored records, computed anew", costs.rebuild_equal)
            )
        _report(outcomes, costs, claims, console)
        if as_json:
            print(json.dumps(_facts(outcomes, claims), indent=2))
        if keep:
            _serve_on(service, deployment, folder, console)
    return all(claim.holds for claim in claims)


def _set_up(service: RunningService, data: DemoData, console: Console) -> Deployment:
    people = len(np.unique(data.users.subjects))
    console.print(
        f"[bold]2.[/] Uploading handwritten digits (8x8 pixels): {len(data.core)} public ones for the core network, "
        f"{len(data.test)} for testing,\n   and {len(data.users)} that belong to {people} invented people. "
        "Then the model is registered and learns."
    )
    deployment = deploy(service.client, data, data.users, console)
    console.print(f"   The model serves after {deployment.seconds:.1f} s.\n")
    return deployment


def _forget_all(
    service: RunningService,
    deployment: Deployment,
    data: DemoData,
    wishes: Sequence[Wish],
    folder: Path,
    console: Console,
) -> tuple[list[Outcome], list[Claim]]:
    users, outcomes, claims = data.users, [], []
    for step, wish in enumerate(wishes, start=3):
        console.print(
            f"[bold]{step}.[/] Forgetting [bold]{wish.title}[/], while somebody keeps asking for predictions."
        )
        meant = wish.matches(users)
        gone, kept = users.where(meant), users.where(~meant)
        before = prove(deployment, fresh_challenge())
        done = forget(service, deployment, wish, data.test, users, folder)
        console.print(
            f"   {done.records} records are gone, {done.seconds:.2f} s after the request was accepted. "
            f"The certificate is signed."
        )
        console.print("   To compare, we build a second service that only ever receives the other records:")
        comparison = compare(deployment, before, data, gone, kept, folder / f"never-saw-{step - 2}", console)
        words = "[green]the same bytes[/]" if comparison.equal else "[red]DIFFERENT bytes[/]"
        console.print(f"   Asked for keyed digests of their weights and statistics, both answer: {words}.\n")
        outcomes.append(Outcome(done, comparison))
        claims += claims_about(done, comparison)
        users = kept
    return outcomes, claims


def _returns(deployment: Deployment, data: DemoData, console: Console) -> Claim:
    """Try to bring the first forgotten person back."""
    theirs = data.users.where(ONE.matches(data.users))
    try:
        deployment.client.upload(deployment.user_cohort, theirs.x, theirs.y, subjects=theirs.subjects, ids=theirs.ids)
        refused = False
    except ApiProblem as problem:
        refused = problem.status == SUPPRESSED
    return Claim(f"{ONE.title}: an upload that brings the forgotten person back is refused", refused)


def _costs(deployment: Deployment, data: DemoData, outcomes: Sequence[Outcome], console: Console) -> Costs:
    console.print("[bold]6.[/] Timing the other ways to forget, on the records that are left. These are really run.")
    kept = _kept(data.users, [outcome.done.wish for outcome in outcomes])
    with Progress(console=console) as progress:
        bar = progress.add_task("   train the network again", total=1.0)
        network = baselines.retrain_network(
            data.core, kept, data.test, lambda fraction: progress.update(bar, completed=fraction)
        )
        bar = progress.add_task("   train the last layer again", total=1.0)
        linear = baselines.retrain_linear(
            data.core, kept, data.test, lambda fraction: progress.update(bar, completed=fraction)
        )
        bar = progress.add_task("   sum everything up again", total=1.0)
        job = deployment.client.wait_for_job(
            _number(deployment.client.rebuild(deployment.model)["job"]),
            on_progress=lambda fraction, _note: progress.update(bar, completed=fraction),
        )
    console.print()
    return Costs(network, linear, float(job["result"]["seconds"]), bool(job["result"]["equal"]))


def _kept(users: Records, wishes: Sequence[Wish]) -> Records:
    for wish in wishes:
        users = users.where(~wish.matches(users))
    return users


def _number(job: object) -> int:
    return int(job["id"]) if isinstance(job, dict) else int(str(job))


def _report(outcomes: Sequence[Outcome], costs: Costs | None, claims: Sequence[Claim], console: Console) -> None:
    console.print(accuracy_table(outcomes))
    console.print(
        "   The wishes came one after another. 'Never saw them' is a separate service each time.\n", style="dim"
    )
    if costs is not None:
        console.print(cost_table(outcomes, costs))
        console.print(
            "   The first row's work does not grow with the number of records kept; the others' does.\n", style="dim"
        )
    console.print("[bold]Claims[/]")
    for claim in claims:
        console.print("  [green]ok    [/] " if claim.holds else "  [bold red]FAILED[/] ", escape(claim.words), sep="")
    failed = sum(not claim.holds for claim in claims)
    console.print(
        f"\n{len(claims) - failed} of {len(claims)} claims hold.", style="bold red" if failed else "bold green"
    )


def _facts(outcomes: Sequence[Outcome], claims: Sequence[Claim]) -> dict[str, object]:
    return {
        "forgotten": [
            {"wish": o.done.wish.title, "records": o.done.records, "seconds": o.done.seconds} for o in outcomes
        ],
        "claims": [{"claim": claim.words, "holds": claim.holds} for claim in claims],
    }


def _serve_on(service: RunningService, deployment: Deployment, folder: Path, console: Console) -> None:
    url, model = service.url, deployment.model
    console.print("\n[bold]The service keeps running.[/] Things to try:")
    console.print(f"  Dashboard: {url}/dashboard  (any user name; the key is the password)")
    console.print(f"  Certificates: {escape(str(folder))}")
    for line in (
        f"export LACUNA_URL={url} LACUNA_API_KEY={service.key}",
        "lacuna status",
        "lacuna forget --subject person-042 --wait",
        'curl -H "Authorization: Bearer $LACUNA_API_KEY" $LACUNA_URL/v1/forget-requests',
        f'curl -H "Authorization: Bearer $LACUNA_API_KEY" $LACUNA_URL/v1/models/{model}/versions',
    ):
        console.print(f"  {line}", soft_wrap=True, markup=False)
    console.print("Ctrl-C stops it.")
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        console.print("Stopping.")
