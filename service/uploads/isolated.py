"""Decoding an upload in a process of its own, which may use little memory and knows no secrets.

What a hostile file does to a decoder written in C then ends there: the service answers 422 and goes on. The child gets
two open files without names and one line of JSON, and answers with one line.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from dataclasses import asdict
from typing import IO, Any

from ledger.errors import StoreFailed, StoreFull, StoreReadOnly
from service.refusals import RowFault, UploadRefused
from service.uploads.convert import Task, convert, reader_of
from service.uploads.records import Format, Limits

MEMORY = 2**30
"""Bytes that decoding may take beyond what the child has when its libraries are loaded."""
CPU_S = 4 * 3600
STOPPED = "it could not be decoded with the memory and time that a file may take, or it is damaged"
_STORE_ERRORS = {kind.__name__: kind for kind in (StoreFull, StoreReadOnly, StoreFailed)}


def convert_isolated(task: Task, body: IO[bytes], spool: IO[bytes]) -> int:
    """Do what `convert` does, in a child. Raises what it raises."""
    message = asdict(task) | {"key": task.key.hex()}
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "service.uploads.isolated",
        str(body.fileno()),
        str(spool.fileno()),
    ]
    done = subprocess.run(
        command,
        input=json.dumps(message).encode(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # a decoder may print what it read
        pass_fds=(body.fileno(), spool.fileno()),
        env=_environment(),
        check=False,
    )
    try:
        answer: dict[str, Any] = json.loads(done.stdout)
    except ValueError as problem:
        raise UploadRefused(STOPPED, "Send it in smaller files, or in another format") from problem
    if "refused" in answer:
        faults = [RowFault(f["member"], f["why"], tuple(f["rows"]), f["count"]) for f in answer["faults"]]
        raise UploadRefused(answer["refused"], answer["advice"], faults=faults)
    if "store" in answer:
        raise _STORE_ERRORS[answer["store"]](answer["why"])
    return int(answer["rows"])


def _environment() -> dict[str, str]:
    """Return the environment without this service's settings, of which some are secret. One thread each is enough."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("LACUNA_")}
    return own | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "ARROW_DEFAULT_MEMORY_POOL": "system"}


def main(body_descriptor: int, spool_descriptor: int, message: bytes) -> dict[str, Any]:
    """Convert, as the child, and return the answer."""
    task = _read_task(json.loads(message))
    reader_of(task.kind)  # loads the libraries before the memory is limited
    _limit(task.limits.unpacked_bytes)
    with (
        os.fdopen(body_descriptor, "rb", buffering=0) as body,
        os.fdopen(spool_descriptor, "r+b", buffering=0) as spool,
    ):
        try:
            return {"rows": convert(task, body, spool)}
        except UploadRefused as problem:
            faults = [asdict(fault) for fault in problem.faults]
            return {"refused": problem.why, "advice": problem.advice, "faults": faults}
        except StoreFailed as problem:
            return {"store": type(problem).__name__, "why": problem.why}


def _read_task(fields: dict[str, Any]) -> Task:
    wanted, limits = fields.pop("wanted"), fields.pop("limits")
    for name in ("shape", "class_names", "columns"):
        wanted[name] = None if wanted[name] is None else tuple(wanted[name])
    key = bytes.fromhex(fields.pop("key"))
    return Task(**fields, wanted=Format(**wanted), limits=Limits(**limits), key=key)


def _limit(unpacked_bytes: int) -> None:
    """Bound memory, processor time and the size of files; leave no core dump with records in it."""
    with open("/proc/self/statm", "rb") as file:  # noqa: PTH123  # no Path on a file that is no file
        now = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY, now + MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * unpacked_bytes + 2**30, 2 * unpacked_bytes + 2**30))


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(int(sys.argv[1]), int(sys.argv[2]), sys.stdin.buffer.read())))
