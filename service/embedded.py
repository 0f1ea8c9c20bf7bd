"""The embedded server: database, service and one worker process on one data directory, without any other program."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType

import uvicorn

from service.data_directory import locked, remove_address, write_address
from service.draining import Draining
from service.first_start import prepare
from service.local_errors import AddressTaken
from service.main import create_app
from service.settings import ServiceSettings
from service.slow_clients import uvicorn_options
from service.worker_process import WorkerProcess

DRAIN_S = 10
"""Seconds that open requests get to finish once the server is told to stop."""


@dataclass(frozen=True, slots=True)
class Started:
    """What there is to say once the server answers. `first_key` is given only when the directory was new."""

    url: str
    data_dir: Path
    first_key: str | None
    worker_pid: int | None


class EmbeddedServer:
    """Runs until it gets SIGINT or SIGTERM; `run` belongs in the main thread of a process."""

    def __init__(
        self,
        settings: ServiceSettings,
        *,
        host: str,
        port: int,
        with_worker: bool,
        on_started: Callable[[Started], None],
    ) -> None:
        """Port 0 takes a free one; `on_started` gets the address once requests are answered."""
        self._settings = settings
        self._host = host
        self._port = port
        self._with_worker = with_worker
        self._on_started = on_started

    def run(self) -> None:
        """Serve until a signal comes.

        Raises DataDirectoryBusy, DataDirectoryUnusable, AddressTaken, LedgerError, DBAPIError.
        """
        directory = Path(self._settings.data_dir).resolve()
        with ExitStack() as stack:
            alone = self._settings.is_embedded
            if alone:  # on a database server, several API processes share one directory
                stack.enter_context(locked(directory))
            listener = stack.enter_context(_listen(self._host, self._port))
            first_key = prepare(self._settings)
            worker = self._start_worker(stack, directory)
            url = _url(self._host, listener.getsockname()[1])

            def announce() -> None:
                if alone:
                    write_address(directory, url)
                self._on_started(Started(url, directory, first_key, worker.pid if worker else None))

            if alone:
                stack.callback(remove_address, directory)
            stack.enter_context(_signals_end_the_server_only())
            app = create_app(self._settings, on_accepted=worker.nudge if worker else None)
            app.state.draining = draining = Draining(self._settings.drain_s)
            config = uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                timeout_graceful_shutdown=DRAIN_S,
                server_header=False,
                **uvicorn_options(self._settings.slow_headers_s),
            )
            server = _Announcing(config, announce, lambda: app.state.streams.close(), draining)
            try:
                server.run(sockets=[listener])
            except SystemExit:
                if (problem := getattr(app.state, "start_refused", None)) is not None:
                    raise problem from None
                raise

    def _start_worker(self, stack: ExitStack, directory: Path) -> WorkerProcess | None:
        if not self._with_worker:
            return None
        worker = WorkerProcess({**os.environ, "LACUNA_DATA_DIR": str(directory)})
        worker.start()
        stack.callback(worker.stop)
        return worker


@contextmanager
def _listen(host: str, port: int) -> Iterator[socket.socket]:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as problem:
        raise AddressTaken(host, port, problem.strerror or str(problem)) from problem
    with listener:
        yield listener


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextmanager
def _signals_end_the_server_only() -> Iterator[None]:
    """Keep uvicorn, which sends itself the signal again after its shutdown, from skipping ours."""
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Announcing(uvicorn.Server):
    """Says when requests are answered, and ends the streams that would keep it from stopping."""

    def __init__(
        self, config: uvicorn.Config, announce: Callable[[], None], end_streams: Callable[[], None], draining: Draining
    ) -> None:
        super().__init__(config)
        self._draining = draining
        self._announce = announce
        self._end_streams = end_streams

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop, but not before whoever sends requests here has had time to notice."""
        self._draining.told(partial(super().handle_exit, sig, frame))

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._announce()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._end_streams()
        await super().shutdown(sockets)
