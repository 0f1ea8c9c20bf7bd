"""A second service that never saw the forgotten records, really built, and compared with the one that forgot them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from service.client import Json
from service.demo.data import DemoData, Records
from service.demo.deployment import Deployment, deploy
from service.demo.forgetting import Measured, measure
from service.demo.running_service import running_service

CHALLENGE_BYTES = 32


@dataclass(frozen=True, slots=True)
class Comparison:
    """Whether weights and statistics are equal byte for byte, and what the never-saw model measures.

    differed_before: whether the version before the forgetting answered the same challenge otherwise, as it must; else
    the comparison could not tell anything. seconds: to set the never-saw model up.
    """

    equal: bool
    differed_before: bool
    public_equal: bool
    measured: Measured
    seconds: float


@dataclass(frozen=True, slots=True)
class Proof:
    """Answers of one version to a fresh challenge: HMAC-SHA256(challenge, bytes) of weights and statistics."""

    challenge: bytes
    weights: str
    statistics: str


def prove(deployment: Deployment, challenge: bytes) -> Proof:
    """Ask the active version for its proof."""
    version = int(deployment.client.model(deployment.model)["active_version"])
    answer: Json = deployment.client.digests(deployment.model, version, challenge)
    return Proof(challenge, str(answer["weights"]), str(answer["statistics"]))


def fresh_challenge() -> bytes:
    """Return random bytes, so that no answer can be prepared."""
    return os.urandom(CHALLENGE_BYTES)


def compare(
    deployment: Deployment,
    before: Proof,
    data: DemoData,
    gone: Records,
    kept: Records,
    folder: Path,
    console: Console,
) -> Comparison:
    """Build a service that only ever receives `kept`, and compare. `before`: proof of the version that knew `gone`."""
    after = prove(deployment, before.challenge)
    with running_service(folder) as stranger:
        rebuilt = deploy(stranger.client, data, kept, console, transient=True)
        theirs = prove(rebuilt, before.challenge)
        public = {
            str(each.client.model(each.model)["public_digest"])  # the core network, trained anew
            for each in (deployment, rebuilt)
        }
        return Comparison(
            equal=(after.weights, after.statistics) == (theirs.weights, theirs.statistics),
            differed_before=before.weights != theirs.weights and before.statistics != theirs.statistics,
            public_equal=len(public) == 1,
            measured=measure(rebuilt, data.test, gone, kept),
            seconds=rebuilt.seconds,
        )
