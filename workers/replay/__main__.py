"""`python -m workers.replay`: replay a model and print what was found, for `lacuna audit replay`.

Standard output is one JSON document a line: `{"doing": ..., "done": 0.4}` while it works, `{"report": {...}}` or
`{"error": ...}` at the end. It reads; it writes nothing.
"""

from __future__ import annotations

import os

# Before torch is imported: threads that wait by spinning take the cores from whoever shares the machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse
import json
import secrets
import sys
import time
from pathlib import Path
from typing import Any

import torch
from sqlalchemy.exc import DBAPIError

from evidence.errors import EvidenceError
from ledger.errors import KeyUnavailable, LedgerError
from ledger.keys import MASTER
from ledger.ledger import open_ledger
from ledger.migrate import require_current
from unlearning.architectures import read_allow_list
from unlearning.errors import UnlearningError
from workers.deps import Deps
from workers.errors import WorkError
from workers.replay.run import Asked, replay
from workers.settings import WorkerSettings

INTERVAL_S = 0.1


def main(arguments: list[str] | None = None) -> int:
    """Return 0 when everything holds, 1 when something does not, 2 when it could not be looked at."""
    asked = _asked(arguments)
    last_s = 0.0

    def progress(doing: str, done: float) -> None:
        nonlocal last_s
        if time.monotonic() - last_s >= INTERVAL_S:
            last_s = time.monotonic()
            _say({"doing": doing, "done": round(done, 4)})

    try:
        deps = _open(WorkerSettings())
        try:
            report = replay(deps, asked, progress)
        finally:
            deps.ledger.close()
    except (LedgerError, EvidenceError, WorkError, UnlearningError, OSError) as problem:
        _say({"error": str(problem)})
        return 2
    except DBAPIError as problem:
        _say({"error": f"The database cannot be read ({type(problem.orig).__name__}). Check its address and rights."})
        return 2
    _say({"report": report.as_dict()})
    return 0 if report.passed else 1


def _asked(arguments: list[str] | None) -> Asked:
    parser = argparse.ArgumentParser(prog="python -m workers.replay", description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--tenant", required=True)
    parser.add_argument("--sample", type=int, required=True)
    parser.add_argument("--challenge", default="")
    files = ("--key", "--key-list", "--revocations", "--checkpoint")
    for name in files:
        parser.add_argument(name, type=Path)
    options = parser.parse_args(arguments)
    texts = [getattr(options, name.strip("-").replace("-", "_")) for name in files]
    keys, key_list, revocations, checkpoint = (None if path is None else path.read_text() for path in texts)
    return Asked(
        options.model, options.tenant, options.sample, keys, key_list, revocations, checkpoint, options.challenge
    )


def _open(settings: WorkerSettings) -> Deps:
    """Open everything for reading. Raises KeyUnavailable: there are no keys, and an audit makes none; LedgerError."""
    folder = Path(settings.key_dir) if settings.key_dir else Path(settings.data_dir) / "keys"
    if not (folder / MASTER).exists():
        raise KeyUnavailable(f"{folder / MASTER} is not there, and stored records cannot be opened without it")
    torch.set_num_threads(settings.threads)

    def clock_us() -> int:
        return time.time_ns() // 1000

    ledger = open_ledger(settings, clock=clock_us, random=secrets.token_bytes, verify_store=False)
    require_current(ledger.database.engine)
    return Deps(
        ledger=ledger,
        worker="replay",
        clock_us=clock_us,
        wait_s=time.sleep,
        lease_us=0,
        slice_us=0,
        clock_skew_us=settings.clock_skew_ms * 1000,
        backup_days=settings.backup_days,
        architectures=read_allow_list(settings.architectures),
    )


def _say(what: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
