"""`lacuna verify`: checking evidence, for those who trust nobody."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from evidence import __main__ as outsider
from evidence.key_list import follow, read_keys
from evidence.revocations import gather
from ledger.database import Database, open_engine
from ledger.log.verify import LogKey, Verified, verify_log
from ledger.migrate import require_current
from service.commands.common import NOT_AS_HOPED, AsJson, DataDir, SettingsFile, err, load_settings, out, print_json
from service.first_start import utc_microseconds

verify = typer.Typer(no_args_is_help=True, help="Check a certificate, or the whole log.")

KeyFile = Annotated[Path, typer.Option("--key", help="The service's public keys, kept apart from it: PEM or a list.")]
KeyList = Annotated[
    Path | None,
    typer.Option(help="Newer keys, a list of the service: those count to which hand-overs lead from --key."),
]
RevocationsFile = Annotated[
    Path | None, typer.Option("--revocations", help="The service's list of revoked keys, as new as possible.")
]
Since = Annotated[Path | None, typer.Option(help="A checkpoint of the log that you kept from earlier.")]


@verify.command("certificate")
def certificate(
    file: Annotated[Path, typer.Argument(help="The certificate, as the service gave it.")],
    key: KeyFile,
    proof: Annotated[Path | None, typer.Option(help="Its place in the log (.tlog-proof).")] = None,
    since: Since = None,
    key_list: KeyList = None,
    revocations: RevocationsFile = None,
    receipt: Annotated[Path | None, typer.Option(help="The requester's receipt; it opens whom it named.")] = None,
    identifier_stdin: Annotated[
        bool, typer.Option("--identifier-stdin", help="Read the identifier that the receipt should open to, one line.")
    ] = False,
) -> None:
    """Check a certificate offline. `python -m evidence` does the same where nothing else of Lacuna is installed.

    An identifier is read from standard input, so that it stands in no list of processes and no history.

    Example: lacuna verify certificate certificate.json --key service.pem --proof certificate.tlog-proof
    """
    arguments = [str(file), "--key", str(key)]
    given = (("--proof", proof), ("--since", since), ("--key-list", key_list), ("--revocations", revocations))
    for name, path in given:
        arguments += [] if path is None else [name, str(path)]
    if receipt is not None:
        arguments += ["--receipt", str(receipt)]
    if identifier_stdin:
        arguments.append("--identifier-stdin")
    status = outsider.main(arguments)
    if status:
        raise typer.Exit(status)


@verify.command("log")
def log(
    key: KeyFile,
    since: Since = None,
    key_list: KeyList = None,
    revocations: RevocationsFile = None,
    data_dir: DataDir = None,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Recompute the log from the database's rows and name every row that was edited, deleted, moved or inserted.

    Only with a checkpoint from earlier (--since) can a log be told that was rewritten completely and signed anew.
    It reads the database alone, for example as the role lacuna_auditor. Ends with 1 if anything is wrong.

    Example: lacuna verify log --key service.pem --since kept-checkpoint.txt
    """
    raw = _log_keys(key, key_list, revocations)
    kept = None if since is None else since.read_text()
    engine = open_engine(load_settings(data_dir, settings).resolved_database_url())
    try:
        require_current(engine)
        database = Database(engine, utc_microseconds, os.urandom)
        bar = Progress(TextColumn("verifying the log"), BarColumn(), TimeRemainingColumn(), console=err, transient=True)
        with bar, database.read() as tx:
            task = bar.add_task("", total=1.0)
            found = verify_log(tx, raw, since=kept, on_progress=lambda done: bar.update(task, completed=done))
    finally:
        engine.dispose()
    _tell(found, as_json=as_json)
    if found.findings:
        raise typer.Exit(NOT_AS_HOPED)


def _log_keys(key: Path, key_list: Path | None, revocations: Path | None) -> list[LogKey]:
    """Return the keys that may have signed checkpoints. Raises EvidenceError."""
    texts = [None if path is None else path.read_text() for path in (key, key_list, revocations)]
    revoked = gather(*texts)
    assert texts[0] is not None
    keys = read_keys(texts[0])
    if texts[1] is not None:
        keys = follow(keys, texts[1], revoked=revoked.keys())
    return [LogKey(each.raw, revoked=each.key_id in revoked) for each in keys]


def _tell(found: Verified, *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "entries": found.size,
                "waiting": found.waiting,
                "checkpoints": found.checkpoints,
                "findings": found.findings,
            }
        )
        return
    for finding in found.findings:
        err.print(finding, style="red", markup=False, soft_wrap=True)
    if not found.findings:
        out.print(
            f"The log is whole: {found.size} entries, {found.checkpoints} signed checkpoints fit; "
            f"{found.waiting} events wait for their place."
        )
