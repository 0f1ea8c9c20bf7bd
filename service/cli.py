"""The command `lacuna`."""

from __future__ import annotations

import os
import sys
from importlib.metadata import version
from typing import Annotated, NoReturn

import typer
from pydantic import ValidationError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from evidence.errors import EvidenceError
from ledger.errors import LedgerError, SettingUnusable
from service.client_errors import ApiProblem, ClientError, ServiceUnreachable
from service.commands import (
    auditing,
    correcting,
    database,
    demonstration,
    diagnosing,
    forgetting,
    holding,
    keys,
    people,
    server,
    signing,
    suppressing,
    telling,
    uploading,
    verifying,
    working,
)
from service.commands.common import EXIT_CODES, NOT_AS_HOPED, REFUSED, UNREACHABLE, UNUSABLE, USAGE, err
from service.local_errors import DatabaseUnusable, LocalError, NoKey
from unlearning.errors import ArchitectureRefused

app = typer.Typer(
    name="lacuna",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog=f"Try `lacuna demo` first. {EXIT_CODES}",
)
app.command()(server.server)
app.command()(server.worker)
app.command()(server.reconcile)
app.command()(uploading.upload)
app.command()(correcting.correct)
app.command()(forgetting.forget)
app.command()(forgetting.status)
app.command()(forgetting.extend)
app.command()(forgetting.certificate)
app.command()(forgetting.receipt)
app.command()(telling.follow)
app.command()(working.jobs)
app.command()(working.retry)
app.command()(diagnosing.doctor)
app.command()(demonstration.demo)
app.add_typer(holding.hold, name="hold")
app.add_typer(suppressing.suppression, name="suppression")
app.add_typer(telling.webhook, name="webhook")
app.add_typer(verifying.verify, name="verify")
app.add_typer(auditing.audit, name="audit")
app.add_typer(database.db, name="db")
app.add_typer(keys.key, name="key")
app.add_typer(people.people_commands, name="people")
app.add_typer(signing.signing_keys, name="signing-keys")

STATUS: tuple[tuple[type[Exception], int], ...] = (
    (NoKey, USAGE),
    (ValidationError, USAGE),
    (SettingUnusable, USAGE),
    (ArchitectureRefused, USAGE),
    (ServiceUnreachable, UNREACHABLE),
    (ApiProblem, REFUSED),
    (ClientError, NOT_AS_HOPED),
    (EvidenceError, NOT_AS_HOPED),
    (LedgerError, REFUSED),
    (LocalError, UNUSABLE),
)
"""The expected errors and the exit status of each; the first that fits counts."""


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"lacuna {version('lacuna')}")
        raise typer.Exit


@app.callback()
def lacuna(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """Lacuna makes classifiers forget people, exactly, and proves it."""


def main() -> None:
    """Run the command line. Expected errors become one sentence and an exit status, never a traceback."""
    # Read when torch is loaded, here and in child processes: threads that wait for each other then sleep instead of
    # spinning. On a busy machine that makes training several times faster; the results are the same bits.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        app()
    except tuple(kind for kind, _ in STATUS) as problem:
        _end(problem)
    except (DBAPIError, PoolTimeout) as problem:
        if (fact := DatabaseUnusable.of(problem)) is None:
            raise
        _end(fact)


def _end(problem: Exception) -> NoReturn:
    err.print(f"Error: {_words(problem)}", style="red", markup=False, soft_wrap=True)
    sys.exit(next(status for kind, status in STATUS if isinstance(problem, kind)))


def _words(problem: Exception) -> str:
    if isinstance(problem, ValidationError):
        wrong = (f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in problem.errors())
        return f"A setting is wrong. {'; '.join(wrong)}. Correct it in the environment or the settings file."
    return str(problem)


if __name__ == "__main__":
    main()
