"""`lacuna forget`, `lacuna status` and `lacuna certificate`: what a privacy engineer needs from a terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from ledger.dsse import IN_TOTO, verify_envelope
from ledger.errors import SignatureInvalid
from service.client import Json
from service.commands import outlook, show
from service.commands.common import (
    NOT_AS_HOPED,
    AsJson,
    DataDir,
    Key,
    SubjectType,
    Url,
    cohort_ids,
    connect,
    err,
    out,
    print_json,
)

Request = Annotated[str, typer.Argument(help="Id of a forget request.")]


def forget(
    subject: Annotated[list[str] | None, typer.Option(help="Identifier of a person. May be repeated.")] = None,
    subject_type: SubjectType = "controller_customer_id",
    record: Annotated[list[str] | None, typer.Option(help="Id of one record. May be repeated.")] = None,
    label: Annotated[list[int] | None, typer.Option(help="Index of a class, from 0. May be repeated.")] = None,
    everything: Annotated[bool, typer.Option("--everything", help="Every record of the cohorts.")] = False,
    cohort: Annotated[
        list[str] | None, typer.Option(help="Only in this cohort (name or id). May be repeated. Default: all user ones")
    ] = None,
    regulation: Annotated[str | None, typer.Option(help="gdpr or ccpa; decides the deadline.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Return only when it is done.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before --everything.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what it would do; nothing is forgotten or noted.")
    ] = False,
    url: Url = None,
    key: Key = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Ask for people or records to be forgotten. Say which in exactly one way.

    Example: lacuna forget --subject person-017 --wait
    """
    if everything and not yes and not dry_run:
        _ask_first()
    with connect(url, key, data_dir) as client:
        said: Json = {
            "subjects": subject or (),
            "subject_type": subject_type,
            "record_ids": record or (),
            "labels": label or (),
            "everything": everything,
            "cohorts": cohort_ids(client, cohort or ()),
            "regulation": regulation,
        }
        if dry_run:
            _show_outlook(client.dry_runs.answer(client.dry_runs.start(**said)), as_json)
            return
        request = client.forget(**said)
        if wait:
            request = client.wait_for_request(request["id"])
    if as_json:
        print_json(request)
    else:
        show.request(out, request)
        if not wait:
            out.print(f"\nFollow it with: lacuna status {request['id']}", soft_wrap=True)


def status(
    request: Annotated[str | None, typer.Argument(help="Id of a forget request; without it, an overview.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Most requests in the overview.")] = 20,
    url: Url = None,
    key: Key = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Show one forget request, or the models and the newest requests. Ends with 1 if the shown request has failed.

    Example: lacuna status
    """
    with connect(url, key, data_dir) as client:
        if request is None:
            models, requests = client.models(), client.requests(limit=limit)
            if as_json:
                print_json({"models": models, "requests": requests})
            else:
                show.overview(out, models, requests)
            return
        found = client.request(request)
    if as_json:
        print_json(found)
    else:
        show.request(out, found)
    if found["state"] == "failed":
        raise typer.Exit(NOT_AS_HOPED)


def extend(
    request: Request,
    reason: Annotated[str, typer.Option(help="Why, for people. Kept encrypted; do not name the person.")],
    url: Url = None,
    key: Key = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Extend a request's deadline to the latest that the law allows. Possible once, before the first deadline.

    Example: lacuna extend 4f0c... --reason "records of three archives must be compared"
    """
    with connect(url, key, data_dir) as client:
        extended = client.extend(request, reason)
    if as_json:
        print_json(extended)
    else:
        first, last = str(extended["first_due_at"])[:10], str(extended["due_at"])[:10]
        out.print(f"The deadline is {last} now. Tell the person why by {first}.")


def certificate(
    request: Request,
    save: Annotated[Path | None, typer.Option("--out", help="Write the signed envelope to this file.")] = None,
    url: Url = None,
    key: Key = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Fetch a request's certificate, verify its signature and show what it states.

    Ends with 1 if it does not verify, or if the key was revoked.

    Example: lacuna certificate 4f0c... --out certificate.json
    """
    with connect(url, key, data_dir) as client:
        envelope = client.certificate(request)
        signing_keys = client.signing_keys()
    if save is not None:
        save.write_bytes(envelope)
    statement, signer = _verified(envelope, signing_keys)
    revoked = signer.get("state") == "revoked"
    if as_json:
        sys.stdout.write(envelope.decode() + "\n")
    elif statement is not None:
        show.statement(out, statement)
        out.print(f"\n[green]The signature verifies[/] with key {signer['key_id']} of this service.", soft_wrap=True)
        if save is not None:
            out.print(f"Saved to {escape(str(save))}", soft_wrap=True)
    if statement is None:
        err.print("The signature does not verify with any key of this service. Do not trust the content.", style="red")
        raise typer.Exit(NOT_AS_HOPED)
    if revoked:
        err.print("That key was revoked. `lacuna verify certificate` says whether this was signed before.", style="red")
        raise typer.Exit(NOT_AS_HOPED)


def receipt(
    request: Request,
    save: Annotated[Path, typer.Option("--out", help="Write the receipt to this file.")],
    place: Annotated[int, typer.Option(min=0, help="Whose: the place in the request of what it names, from 0.")] = 0,
    url: Url = None,
    key: Key = None,
    data_dir: DataDir = None,
) -> None:
    """Fetch the receipt for a person whom a request names. Give each person her own, and nobody another's.

    With it, and her identifier, she finds herself in the certificate: lacuna verify certificate --receipt.

    Example: lacuna receipt 4f0c... --out receipt.json
    """
    with connect(url, key, data_dir) as client:
        save.write_bytes(client.receipt(request, place))
    out.print(f"Saved to {escape(str(save))}", soft_wrap=True)


def _verified(envelope: bytes, signing_keys: Sequence[Json]) -> tuple[Json | None, Json]:
    """Return what was signed, and the key; None and nothing if none of the keys has signed it."""
    for signing_key in signing_keys:
        try:
            payload = verify_envelope(envelope, signing_key["public_key_pem"], payload_type=IN_TOTO)
        except SignatureInvalid:
            continue  # it may be another key's
        statement: Any = json.loads(payload)
        return statement, signing_key
    return None, {}


def _show_outlook(found: Json, as_json: bool) -> None:
    if as_json:
        print_json(found)
    else:
        outlook.outlook(out, found)


def _ask_first() -> None:
    if not sys.stdin.isatty():
        raise typer.BadParameter("--everything forgets every record; confirm it with --yes")
    typer.confirm("Forget every record of these cohorts? This cannot be undone", abort=True, err=True)
