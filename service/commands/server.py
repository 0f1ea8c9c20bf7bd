"""`lacuna server`, `lacuna worker` and `lacuna reconcile`."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from service.commands.common import AsJson, DataDir, SettingsFile, err, load_settings, out
from service.local_errors import NoRedis
from service.logs import configure_logging
from service.settings import ServiceSettings

if TYPE_CHECKING:
    from service.embedded import Started


def server(
    data_dir: DataDir = None,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on; only this machine unless you name another. [127.0.0.1]")
    ] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port; 0 takes a free one. [8321]")] = None,
    no_worker: Annotated[
        bool, typer.Option("--no-worker", help="Answer requests, but leave the work to workers elsewhere.")
    ] = False,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Run the service with its database and one worker, all on one data directory.

    Example: lacuna server --data-dir ./lacuna-data --port 8321
    """
    loaded = _load(data_dir, settings)

    import torch  # here, because it takes seconds to import

    from service.embedded import EmbeddedServer

    configure_logging(loaded.log_level, "console" if sys.stderr.isatty() else loaded.log_format)
    torch.set_num_threads(loaded.torch_threads)  # once, for the whole process, before any thread computes

    def announce(started: Started) -> None:
        if as_json:
            typer.echo(
                json.dumps({"url": started.url, "data_dir": str(started.data_dir), "first_key": started.first_key})
            )
        else:
            _announce(started)
        sys.stdout.flush()

    EmbeddedServer(
        loaded,
        host=loaded.host if host is None else host,
        port=loaded.port if port is None else port,
        with_worker=loaded.worker and not no_worker,
        on_started=announce,
    ).run()


def _announce(started: Started) -> None:
    out.print(f"Lacuna answers at [bold]{started.url}[/]  (dashboard: {started.url}/dashboard)", soft_wrap=True)
    out.print(f"Data directory: {escape(str(started.data_dir))}", soft_wrap=True)
    if started.worker_pid is None:
        out.print(
            "No worker runs here: requests are accepted, and done by a worker that you start elsewhere.", soft_wrap=True
        )
    if started.first_key is not None:
        out.print("\nThe first API key, shown this once. It may do everything:")
        out.print(f"  [bold]{started.first_key}[/]\n", soft_wrap=True)
        out.print("Make others, with fewer rights, by `lacuna key create --label NAME --scope SCOPE`.", soft_wrap=True)
    out.print("Stop with Ctrl-C.")


def worker(
    data_dir: DataDir = None,
    settings: SettingsFile = None,
    queue: Annotated[
        list[str] | None, typer.Option(help="With Redis: whose jobs, cpu or gpu. May be repeated. [cpu]")
    ] = None,
) -> None:
    """Do the jobs of the ledger until Ctrl-C or SIGTERM; a job in hand is finished first.

    It looks for jobs by itself; with a Redis (LACUNA_REDIS_URL or LACUNA_REDIS_URL_FILE) Celery brings them.

    Example: lacuna worker --settings /etc/lacuna.env
    """
    loaded = _load(data_dir, settings)
    if loaded.resolved_redis_url() is None:
        if queue:
            raise NoRedis
        err.print("Working. Stop with Ctrl-C.")
        _run("workers")
    else:
        err.print("Working for Redis. Stop with Ctrl-C.")
        _run("workers.celery_worker", *(f"--queue={name}" for name in queue or ["cpu"]))


def reconcile(data_dir: DataDir = None, settings: SettingsFile = None) -> None:
    """Repeat lost messages to workers, and take back what crashed processes left, until Ctrl-C or SIGTERM.

    Where Celery's workers do the jobs, one of these must run; several do no harm.

    Example: lacuna reconcile --settings /etc/lacuna.env
    """
    _load(data_dir, settings)
    err.print("Reconciling. Stop with Ctrl-C.")
    _run("workers.reconciler")


def _load(data_dir: Path | None, file: Path | None) -> ServiceSettings:
    """Read the settings, and the addresses that all processes need: a wrong one is said before anything starts.

    Raises SettingUnusable.
    """
    loaded = load_settings(data_dir, file)
    loaded.resolved_database_url()
    loaded.resolved_redis_url()
    return loaded


def _run(module: str, *arguments: str) -> None:
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
