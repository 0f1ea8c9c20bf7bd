"""The demo from beginning to end, told while it happens."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.markup import escape

from service.client_errors import ApiProblem
from service.demo import baselines
from service.demo.claims import Claim, claims_about, tell
from service.demo.data import DemoData, load_data
from service.demo.deployment import Deployment, deploy
from service.demo.forgetting import Wish, forget
from service.demo.never_saw import compare, fresh_challenge, prove
from service.demo.running_service import RunningService, running_service
from service.demo.table import Costs, Outcome, accuracy_table, cost_table
from service.demo.telling import Bars, say, step

SUPPRESSED = 409
ONE = Wish("person-017", subjects=("person-017",))
EVERY_SIX = Wish("every 6", label=6)
TEN = Wish("ten people", subjects=tuple(f"person-{number:03d}" for number in range(100, 110)))
OTHER_WAYS = {
    "network": "train the whole network again",
    "linear": "train the last layer again",
    "rebuild": "sum everything up again",
}


def run(data_dir: Path | None, *, keep: bool, core: bool, as_json: bool) -> bool:
    """Play the whole demo; return whether every claim held. With `keep`, serve until Ctrl-C before returning.

    Raises DemoDataMissing, ServerDidNotStart and what the client raises.
    """
    console = Console(stderr=as_json, highlight=False)
    data = load_data()
    with ExitStack() as stack:
        folder = stack.enter_context(_workplace(data_dir, console))
        console.print("[bold]Lacuna: a service that makes a classifier forget people, exactly[/]\n")
        step(console, 1, "Starting a real server, with its worker, on an empty data directory.")
        service = stack.enter_context(running_service(folder / "service"))
        say(console, f"It answers at {service.url}. From here on we only talk HTTP to it.\n")
        deployment = _set_up(service, data, console)
        wishes = (ONE,) if core else (ONE, EVERY_SIX, TEN)
        outcomes, claims = _forget_all(service, deployment, data, wishes, folder, console)
        claims.append(_cannot_return(deployment, data))
        costs = None if core else _costs(deployment, data, outcomes, console)
        if costs is not None:
            claims.append(Claim("the statistics equal a sum over all stored features, made anew", costs.rebuild_equal))
        _report(outcomes, costs, claims, console)
        if as_json:
            print(json.dumps(_facts(outcomes, claims), indent=2))
        if keep:
            _serve_on(service, deployment, folder, console)
    return all(claim.holds for claim in claims)


@contextmanager
def _workplace(data_dir: Path | None, console: Console) -> Iterator[Path]:
    """Give the named folder, or one that is removed at the end. After a failure it stays: the logs are in it."""
    if data_dir is not None:
        yield data_dir
        return
    folder = Path(tempfile.mkdtemp(prefix="lacuna-demo-"))
    keep = True
    try:
        yield folder
        keep = False
    except KeyboardInterrupt:
        keep = False
        raise
    finally:
        if keep:
            console.print(f"The servers' logs are in {folder}", soft_wrap=True)
        else:
            shutil.rmtree(folder, ignore_errors=True)


def _set_up(service: RunningService, data: DemoData, console: Console) -> Deployment:
    people = len(np.unique(data.users.subjects))
    step(
        console,
        2,
        f"Uploading handwritten digits of 8x8 pixels: {len(data.core)} public ones to train a core network, "
        f"{len(data.test)} to test with, and {len(data.users)} that belong to {people} invented people. "
        "The people's digits train only a linear layer on top: that layer can forget.",
    )
    deployment = deploy(service.client, data, data.users, console)
    say(console, f"The model serves {deployment.seconds:.1f} s after it was registered.\n")
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
    for place, wish in enumerate(wishes, start=1):
        step(console, place + 2, f"Forgetting [bold]{wish.title}[/], while somebody keeps asking for predictions.")
        meant = wish.matches(users)
        gone, kept = users.where(meant), users.where(~meant)
        before = prove(deployment, fresh_challenge())
        done = forget(service, deployment, wish, data.test, users, folder)
        say(console, f"{done.records} records: {done.seconds:.2f} s from the accepted request to the certificate.")
        say(console, "To compare, a second service is built that only ever receives the other records.")
        comparison = compare(deployment, before, data, gone, kept, folder / f"never-saw-{place}", console)
        words = "[green]the same bytes[/]" if comparison.equal else "[red]DIFFERENT bytes[/]"
        say(console, f"Both are asked for keyed digests of their weights and statistics: {words}.\n")
        outcomes.append(Outcome(done, comparison))
        claims += claims_about(done, comparison)
        users = kept
    return outcomes, claims


def _cannot_return(deployment: Deployment, data: DemoData) -> Claim:
    """Try to bring the first forgotten person back."""
    theirs = data.users.where(ONE.matches(data.users))
    try:
        deployment.client.upload(deployment.user_cohort, theirs.x, theirs.y, subjects=theirs.subjects, ids=theirs.ids)
        refused = False
    except ApiProblem as problem:
        refused = problem.status == SUPPRESSED
    return Claim(f"{ONE.title}: an upload that brings the forgotten person back is refused", refused)


def _costs(deployment: Deployment, data: DemoData, outcomes: Sequence[Outcome], console: Console) -> Costs:
    step(console, 6, "Timing other ways to forget, on the records that are left. All are really run.")
    kept = data.users
    for outcome in outcomes:
        kept = kept.where(~outcome.done.wish.matches(kept))
    with Bars(console, OTHER_WAYS) as bars:
        network = baselines.retrain_network(data.core, kept, data.test, lambda f: bars.show("network", f))
        linear = baselines.retrain_linear(data.core, kept, data.test, lambda f: bars.show("linear", f))
        asked = deployment.client.rebuild(deployment.model)
        job = deployment.client.wait_for_job(
            int(asked["job"]), on_progress=lambda fraction, _note: bars.show("rebuild", fraction)
        )
    console.print()
    return Costs(network, linear, float(job["result"]["seconds"]), bool(job["result"]["equal"]))


def _report(outcomes: Sequence[Outcome], costs: Costs | None, claims: Sequence[Claim], console: Console) -> None:
    console.print(accuracy_table(outcomes))
    say(
        console,
        "Forgotten does not mean unrecognisable: other people's digits still teach what a digit looks like. "
        "It means: as if never seen. A whole class that nobody teaches any more is gone.\n",
        style="dim",
    )
    if costs is not None:
        console.print(cost_table(outcomes, costs))
        say(
            console,
            "Lower part: seconds of other ways, and how many times longer than ours (below 1x: shorter). Ours include "
            "destroying and reading back what is stored, and the certificate; theirs only compute. By design ours grow "
            "with the forgotten records, theirs with the kept ones. On the test digits the network "
            f"trained again reaches {costs.network.accuracy:.1%}, the last layer {costs.linear.accuracy:.1%}.\n",
            style="dim",
        )
    tell(console, claims)


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
    say(console, f"Dashboard: {url}/dashboard (sign in with the key)")
    say(console, f"Certificates: {escape(str(folder))}")
    for line in (
        f"export LACUNA_URL={url} LACUNA_API_KEY={service.key}",
        "lacuna status",
        "lacuna forget --subject person-042 --wait",
        'curl -H "Authorization: Bearer $LACUNA_API_KEY" $LACUNA_URL/v1/forget-requests',
        f'curl -H "Authorization: Bearer $LACUNA_API_KEY" $LACUNA_URL/v1/models/{model}/versions',
    ):
        console.print(f"   {line}", soft_wrap=True, markup=False)
    console.print("Ctrl-C stops it.")
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        console.print("Stopping.")
