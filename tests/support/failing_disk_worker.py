"""A worker whose disk fails when it first reaches a point: `failing_disk_worker.py POINT DISK full|read-only`."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))  # before it: else the folder tests/ledger would hide the package

from support.disks import fill, remount
from workers.__main__ import build_deps, main
from workers.settings import WorkerSettings

if __name__ == "__main__":
    at, disk, how = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    del sys.argv[1:]
    failed: list[str] = []

    def fail(point: str) -> None:
        """Let the disk fail, once."""
        if point == at and not failed:
            failed.append(point)
            if how == "full":
                fill(disk)
            else:
                remount(disk, "ro")

    settings = WorkerSettings()
    main(replace(build_deps(settings), point=fail), settings)
