"""What several commands share: options, exit codes, and finding the service to talk to."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from dotenv import dotenv_values
from rich.console import Console

from ledger.errors import SettingUnusable
from service.client import LacunaClient
from service.data_directory import read_address
from service.local_errors import NoKey
from service.settings import ServiceSettings

OK, NOT_AS_HOPED, USAGE, REFUSED, UNREACHABLE, UNUSABLE = 0, 1, 2, 3, 4, 5
EXIT_CODES = (
    "Exit status: 0 done; 1 it ran and failed; 2 wrong usage; 3 the service or the ledger refused; "
    "4 no service answers; 5 the data directory, the database or the address cannot be used."
)

Url = Annotated[
    str | None,
    typer.Option("--url", envvar="LACUNA_URL", help="Address of the service. Default: that of the data directory."),
]
Key = Annotated[str | None, typer.Option("--key", envvar="LACUNA_API_KEY", help="API key.", show_envvar=True)]
DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="Data directory. [env var: LACUNA_DATA_DIR] [default: lacuna-data]")
]
SettingsFile = Annotated[
    Path | None,
    typer.Option("--settings", help="File of KEY=value lines. [env var: LACUNA_SETTINGS]", exists=True, dir_okay=False),
]
SubjectType = Annotated[str, typer.Option(help="What identifiers of people are, e.g. email.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def load_settings(data_dir: Path | None, file: Path | None) -> ServiceSettings:
    """Read the settings: options win over the environment, the environment over the file.

    The environment itself is changed, so that the worker process reads the same. Raises SettingUnusable.
    """
    if data_dir is not None:
        os.environ["LACUNA_DATA_DIR"] = str(data_dir.resolve())
    if file is not None:
        os.environ["LACUNA_SETTINGS"] = str(file.resolve())
    if named := os.environ.get("LACUNA_SETTINGS"):
        # Without it the defaults would silently be another installation, on SQLite.
        if not (Path(named).is_file() or Path(named).is_fifo()):
            raise SettingUnusable("LACUNA_SETTINGS", "it names no file")
        for name, value in dotenv_values(named).items():
            if name.startswith("LACUNA_") and value is not None:
                os.environ.setdefault(name, value)
    return ServiceSettings()


def connect(url: str | None, key: str | None, data_dir: Path | None) -> LacunaClient:
    """Return a client of the given service, or of the one that runs on the data directory. Raises NoKey."""
    if url is None:
        directory = data_dir or Path(os.environ.get("LACUNA_DATA_DIR", "lacuna-data"))
        url = read_address(directory)
    if url is None:
        raise typer.BadParameter(
            "which service? Give --url or set LACUNA_URL; no server is running on the data directory either."
        )
    if not key:
        raise NoKey
    return LacunaClient(url, key)


def cohort_ids(client: LacunaClient, names: Sequence[str]) -> list[str]:
    """Turn names into ids; what is no name is taken for an id, which the service will judge."""
    if not names:
        return []
    ids = {cohort["name"]: cohort["id"] for cohort in client.cohorts()}
    return [ids.get(name, name) for name in names]


def print_json(value: Any) -> None:
    """Print one JSON document and nothing else."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))
