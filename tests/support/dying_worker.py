"""A worker process that kills itself (-9) at the named point; run as a script: `dying_worker.py POINT`."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace

from workers.__main__ import build_deps, main
from workers.settings import WorkerSettings

if __name__ == "__main__":
    at = sys.argv.pop(1)

    def die(point: str) -> None:
        """Die without a word when the point is reached."""
        if point == at:
            os.kill(os.getpid(), signal.SIGKILL)

    settings = WorkerSettings()
    main(replace(build_deps(settings), point=die), settings)
