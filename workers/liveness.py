"""Watching, in a Celery worker's parent, that it still hears Redis; a file that is touched while it does.

If Redis goes away while a job is done, Celery 5.7 cannot acknowledge the job's message, says so, and keeps it in its
books. With a prefetch of one it then waits for room for ever, connected and deaf. So a parent that holds a message that
belongs to no request connects anew, and begins new books.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import structlog
from celery import bootsteps
from celery.worker import state
from redis.exceptions import ConnectionError as RedisConnectionError

EVERY_S = 1.0

log = structlog.get_logger(__name__)


class Liveness(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery is not typed
    """A step of the consumer: it runs only between connecting to Redis and losing it."""

    requires = ("celery.worker.consumer.tasks:Tasks",)
    file: Path | None = None

    @classmethod
    def touching(cls, file: Path | None) -> type[Liveness]:
        """Return the step for this file, or for none. Celery wants a class, not an instance."""
        return type("Liveness", (cls,), {"file": file})

    def __init__(self, parent: Any, **_: Any) -> None:
        """Watch nothing yet."""
        super().__init__(parent)
        self._timer: Any = None
        self._suspected = False

    def start(self, parent: Any) -> None:
        """Look now and every second, from the event loop: if that hangs, the file grows old."""
        self._suspected = False
        self._look(parent)
        self._timer = parent.timer.call_repeatedly(EVERY_S, self._look, (parent,))

    def stop(self, parent: Any) -> None:
        """Let the file grow old."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self, parent: Any) -> None:
        """Touch the file. Raises ConnectionError, so that Celery connects anew, the second time it seems deaf."""
        deaf = is_deaf(parent.task_consumer.channel.qos, len(state.reserved_requests))
        if deaf and self._suspected:
            log.warning("a message was not acknowledged; connecting to Redis anew")
            raise RedisConnectionError("a message is held that belongs to no request")
        self._suspected = deaf
        if self.file is not None:
            self.file.touch()


def is_deaf(qos: Any, requests: int) -> bool:
    """Whether the channel holds messages that nobody works on, and takes no others because of them."""
    return requests == 0 and not qos.can_consume()
