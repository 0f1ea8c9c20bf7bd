"""`python -m evidence`: check a certificate offline. It needs Python and the package `cryptography`, nothing else."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path

from evidence.certificate import Examined, examine
from evidence.errors import EvidenceError

LARGEST = 16 << 20


def main(arguments: list[str] | None = None) -> int:
    """Return 0 when everything that was given holds, 1 when something does not, 2 when a file cannot be read."""
    parser = argparse.ArgumentParser(prog="lacuna verify certificate", description=__doc__.splitlines()[0])
    parser.add_argument("certificate", type=Path, help="the certificate, as the service gave it")
    parser.add_argument("--key", type=Path, required=True, help="the service's public keys, kept apart from it")
    parser.add_argument("--key-list", type=Path, help="newer keys: those count to which hand-overs lead from --key")
    parser.add_argument("--revocations", type=Path, help="the service's list of revoked keys, as new as possible")
    parser.add_argument("--proof", type=Path, help="the certificate's place in the log (.tlog-proof)")
    parser.add_argument("--since", type=Path, help="a checkpoint of the log that you kept from earlier")
    parser.add_argument("--receipt", type=Path, help="the requester's receipt; it opens whom the request named")
    parser.add_argument(
        "--identifier-stdin", action="store_true", help="read the identifier that the receipt should open to, one line"
    )
    options = parser.parse_args(arguments)
    if options.identifier_stdin and options.receipt is None:
        parser.error("--identifier-stdin needs --receipt")
    try:
        found = examine(
            _read(options.certificate),
            _text(options.key),
            proof=None if options.proof is None else _text(options.proof),
            since=None if options.since is None else _text(options.since),
            key_list=None if options.key_list is None else _text(options.key_list),
            revocations=None if options.revocations is None else _text(options.revocations),
            receipt=None if options.receipt is None else _text(options.receipt),
            name=sys.stdin.readline().rstrip("\r\n") if options.identifier_stdin else None,
            now=datetime.now(UTC),
        )
    except OSError as problem:
        print(f"Error: {problem.filename} cannot be read: {problem.strerror}.", file=sys.stderr)
        return 2
    except EvidenceError as problem:
        print(f"NOT VALID: {problem}.", file=sys.stderr)
        return 1
    print(report(found))
    return 0


def report(found: Examined) -> str:
    """Return what was found, for a person to read."""
    predicate = found.statement["predicate"]
    request, bounds = predicate["request"], predicate["bounds"]
    versions = ", ".join(subject["name"] for subject in found.statement["subject"]) or "no model had learned from it"
    lines = [
        f"Request {request['id']}: {predicate['outcome']}.",
        f"Received {request['received_at']}, completed {request['completed_at']}, due {request['due_at']}.",
        f"Versions: {versions}.",
        f"At most {bounds['output_bound']['value']} nats in what is published, "
        f"{bounds['state_bound']['value']} nats in what is kept.",
        "",
    ]
    for title, items in (
        ("Proven here", found.proven),
        ("Said by whoever holds the key, and checkable by replaying the stored records", found.said),
        ("Not covered", found.not_covered),
    ):
        lines += [f"{title}:", *(f"  - {item}" for item in items)]
    return "\n".join(lines)


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(LARGEST)


def _text(path: Path) -> str:
    return _read(path).decode(errors="replace")


if __name__ == "__main__":
    sys.exit(main())
