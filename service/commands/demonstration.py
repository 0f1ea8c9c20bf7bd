"""`lacuna demo`."""

from __future__ import annotations

import signal
import sys
from typing import Annotated

import typer

from service.commands.common import NOT_AS_HOPED, AsJson, DataDir

TERMINATED = 128 + signal.SIGTERM


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave the service running at the end, to try things.")] = False,
    core: Annotated[bool, typer.Option("--core", help="The short variant: one person, no baselines.")] = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Watch real services forget people, and compare each with one that never saw them. Takes about two minutes.

    Ends with 1 if any claim does not hold. Example: lacuna demo --keep
    """
    from service.demo.story import run  # here, because torch takes seconds to import

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))  # so that our servers are stopped as well
    if not run(data_dir, keep=keep, core=core, as_json=as_json):
        raise typer.Exit(NOT_AS_HOPED)
