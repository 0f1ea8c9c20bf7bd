"""A Celery worker whose child sends itself a signal, once, at a point: `signalling_worker.py SIGNAL POINT NOTE`.

NOTE is a file that is written with the child's number just before; once it exists no worker signals again.
"""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from workers.celery_worker import main
from workers.hands import Hands
from workers.settings import WorkerSettings

if TYPE_CHECKING:
    from workers.deps import Deps

if __name__ == "__main__":
    number, at, note = signal.Signals[sys.argv[1]], sys.argv[2], Path(sys.argv[3])
    del sys.argv[1:]

    def signal_itself(point: str) -> None:
        """Say who, and do it."""
        if point == at and not note.exists():
            draft = note.with_suffix(".draft")
            draft.write_text(str(os.getpid()))
            draft.rename(note)
            os.kill(os.getpid(), number)

    def build(settings: WorkerSettings) -> Deps:
        """Return what the child works with. Called after the fork, since it imports torch."""
        from workers.__main__ import build_deps

        return replace(build_deps(settings), point=signal_itself)

    chosen = WorkerSettings()
    sys.exit(main(Hands(chosen, build), chosen))
