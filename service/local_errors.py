"""What can go wrong on the machine where a command or an embedded server runs.

LocalError
├── NoKey                    a command needs an API key and has none
├── NoRedis                  a queue was named, and there is no Redis
├── DataDirectoryBusy        another server uses the data directory
├── DataDirectoryUnusable    the data directory cannot be made or written
├── DatabaseUnusable         the database cannot be reached, or does not let us in
├── AddressTaken             the server cannot listen where it was told to
├── ReplayImpossible         a model could not be replayed
├── ServerDidNotStart        a server that the demo needs ended, or said nothing
└── DemoDataMissing          scikit-learn, whose digits the demo uses, is not installed
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from ledger.database import refusal


class LocalError(Exception):
    """Base of everything that is refused before any service is asked."""


class NoKey(LocalError):
    """A command needs an API key and has none."""

    def __init__(self) -> None:
        super().__init__(
            "This needs an API key. Set LACUNA_API_KEY or give --key; `lacuna key create` on the server's machine "
            "makes one."
        )


class NoRedis(LocalError):
    """A worker was given a queue, and the settings name no Redis."""

    def __init__(self) -> None:
        super().__init__(
            "Queues exist only with Redis. Set LACUNA_REDIS_URL or LACUNA_REDIS_URL_FILE, or leave --queue out: the "
            "worker then looks for jobs by itself."
        )


class DataDirectoryBusy(LocalError):
    """Another server uses the data directory."""

    def __init__(self, directory: Path, holder: str) -> None:
        """`holder` is the number of the process that holds it, or empty."""
        super().__init__(
            f"Another server{f' (process {holder})' if holder else ''} is using {directory}. "
            "Stop that one, or choose another directory with --data-dir."
        )


class DataDirectoryUnusable(LocalError):
    """The data directory cannot be made or written."""

    def __init__(self, directory: Path, why: str) -> None:
        """`why` is what the system said."""
        super().__init__(f"The data directory {directory} cannot be used: {why}. Choose another with --data-dir.")


class DatabaseUnusable(LocalError):
    """The database cannot be reached, is starting or stopping, or does not let this user in."""

    def __init__(self, why: str) -> None:
        """`why` is what the database or its driver said."""
        super().__init__(
            f"The database cannot be used: {why}. See that it runs, that LACUNA_DATABASE_URL or its file names it and "
            "a user who may do this (docs/operations.md, Roles), then try again; `lacuna doctor` looks at the rest."
        )

    @classmethod
    def of(cls, problem: DBAPIError | PoolTimeout) -> DatabaseUnusable | None:
        """Return the fact behind an error of the driver; None if it is not about reaching the database."""
        why = "it is busy" if isinstance(problem, PoolTimeout) else refusal(problem)
        return None if why is None else cls(why)


class AddressTaken(LocalError):
    """The server cannot listen where it was told to."""

    def __init__(self, host: str, port: int, why: str) -> None:
        """`why` is what the system said."""
        super().__init__(f"Cannot listen on {host} port {port}: {why}. Choose another with --host or --port.")


class DemoDataMissing(LocalError):
    """The demo's data come with scikit-learn, which is not installed."""

    def __init__(self) -> None:
        super().__init__(
            "The demo uses the handwritten digits that come with scikit-learn. Run: pip install 'lacuna[demo]'"
        )


class ServerDidNotStart(LocalError):
    """A server that the demo needs ended, or said nothing, while it should have started."""

    def __init__(self, wrote: str) -> None:
        """`wrote` is the end of its log."""
        super().__init__(f"A server of the demo did not start. It wrote:\n{wrote}")


class ReplayImpossible(LocalError):
    """A model could not be replayed; nothing is said about it."""

    def __init__(self, why: str) -> None:
        """`why` is a whole sentence."""
        super().__init__(f"The replay could not be done, which says nothing about the model. {why}")
