"""`lacuna hold`: records that must be kept for a while, whatever is asked to be forgotten."""

from __future__ import annotations

from typing import Annotated

import typer

from service.commands import show
from service.commands.common import AsJson, DataDir, Key, SubjectType, Url, connect, out, print_json

hold = typer.Typer(no_args_is_help=True, help="Keep a person's records for a while, or let them go again.")


@hold.command("place")
def place(
    subject: Annotated[str, typer.Option(help="Identifier of a person, known or not.")],
    reason: Annotated[str, typer.Option(help="Why, for people. Kept encrypted; do not name the person.")],
    subject_type: SubjectType = "controller_customer_id",
    url: Url = None,
    key: Key = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Keep everything of a person, now and later, from being forgotten or corrected.

    Example: lacuna hold place --subject person-017 --reason "case 2026/114"
    """
    with connect(url, key, data_dir) as client:
        placed = client.holds.place(subject, reason, subject_type=subject_type)
    if as_json:
        print_json(placed)
        return
    show.hold(out, placed)
    if placed["leaving"]:
        out.print("\nThe hold came too late for the records that are leaving: they are being erased.", style="yellow")
    out.print(f"\nRelease it with: lacuna hold release {placed['id']}", soft_wrap=True)


@hold.command("list")
def list_all(url: Url = None, key: Key = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Show the holds that are in force, oldest first. Whom they are about cannot be read.

    Example: lacuna hold list
    """
    with connect(url, key, data_dir) as client:
        found = client.holds.list_all()
    if as_json:
        print_json({"holds": found})
    else:
        show.holds(out, found)


@hold.command("release")
def release(
    hold_id: Annotated[str, typer.Argument(metavar="HOLD", help="Id of a hold.")],
    wait: Annotated[bool, typer.Option("--wait", help="Return only when the requests are done.")] = False,
    url: Url = None,
    key: Key = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Delete a hold and its reason, and file again the forget requests that it had stopped.

    Example: lacuna hold release 4f0c... --wait
    """
    with connect(url, key, data_dir) as client:
        released = client.holds.release(hold_id)
        if wait:
            for request in released["filed_again"]:
                client.wait_for_request(request)
    if as_json:
        print_json(released)
        return
    out.print("The hold is released, and its reason deleted.")
    for request in released["filed_again"]:
        out.print(f"A forget request that it had stopped is filed again: lacuna status {request}", soft_wrap=True)
