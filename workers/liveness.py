"""A file that is touched while a Celery worker listens to Redis: what a container's health check looks at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from celery import bootsteps

EVERY_S = 5.0


class Liveness(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery is not typed
    """A step of the consumer: it runs only between connecting to Redis and losing it."""

    requires = ("celery.worker.consumer.tasks:Tasks",)
    file: Path

    @classmethod
    def touching(cls, file: Path) -> type[Liveness]:
        """Return the step for this file. Celery wants a class, not an instance."""
        return type("Liveness", (cls,), {"file": file})

    def __init__(self, parent: Any, **_: Any) -> None:
        """Touch nothing yet."""
        super().__init__(parent)
        self._timer: Any = None

    def start(self, parent: Any) -> None:
        """Touch the file now and every few seconds, from the event loop: if that hangs, the file grows old."""
        self.file.touch()
        self._timer = parent.timer.call_repeatedly(EVERY_S, self.file.touch)

    def stop(self, parent: Any) -> None:
        """Let the file grow old."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
