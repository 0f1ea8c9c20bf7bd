"""A worker process that kills itself (-9) at the first of some points that it reaches: `dying_worker.py POINT...`.

Its last words are the point.
"""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace

from workers.__main__ import build_deps, main
from workers.settings import WorkerSettings

if __name__ == "__main__":
    deadly = frozenset(sys.argv[1:])
    del sys.argv[1:]

    def die(point: str) -> None:
        """Say where, and die on the spot."""
        if point in deadly:
            os.write(sys.stdout.fileno(), point.encode())
            os.kill(os.getpid(), signal.SIGKILL)

    settings = WorkerSettings()
    main(replace(build_deps(settings), point=die), settings)
