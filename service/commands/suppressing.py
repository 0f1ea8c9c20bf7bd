"""`lacuna suppression`: people who were forgotten and must not be uploaded again."""

from __future__ import annotations

from typing import Annotated

import typer

from service.commands.common import AsJson, DataDir, Key, SubjectType, Url, connect, out, print_json

suppression = typer.Typer(
    no_args_is_help=True, help="People who may not be uploaded again, because they were forgotten."
)


@suppression.command("count")
def count(url: Url = None, key: Key = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Say how many people are suppressed. Nobody can read who they are.

    Example: lacuna suppression count
    """
    with connect(url, key, data_dir) as client:
        counts = client.suppressions.count()
    if as_json:
        print_json(counts)
    else:
        out.print(f"{counts['active']} people may not be uploaded; of {counts['withdrawn']} that was withdrawn.")


@suppression.command("withdraw")
def withdraw(
    subject: Annotated[list[str], typer.Option(help="Identifier of a person. May be repeated.")],
    subject_type: SubjectType = "controller_customer_id",
    url: Url = None,
    key: Key = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Let people be uploaded again. What was forgotten stays forgotten.

    Example: lacuna suppression withdraw --subject person-017
    """
    with connect(url, key, data_dir) as client:
        withdrawn = client.suppressions.withdraw(subject, subject_type=subject_type)
    if as_json:
        print_json(withdrawn)
    else:
        out.print(f"{withdrawn['withdrawn']} of them were suppressed until now. All of them may be uploaded.")
