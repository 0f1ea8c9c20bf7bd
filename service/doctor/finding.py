"""What one look has found."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad it is. `skipped`: it could not be looked at, because something before it is wrong, or is not used."""

    OK = "ok"
    WARNING = "warning"
    WRONG = "wrong"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: what was found, and what to do. No secret, no address, nobody's name."""

    check: str
    level: Level
    what: str
    advice: str = ""

    def as_dict(self) -> dict[str, str]:
        """Return it for JSON."""
        return {name: str(value) for name, value in asdict(self).items()}


def ok(check: str, what: str) -> Finding:
    """All is well."""
    return Finding(check, Level.OK, what)


def warning(check: str, what: str, advice: str) -> Finding:
    """It works, but should be looked after."""
    return Finding(check, Level.WARNING, what, advice)


def wrong(check: str, what: str, advice: str) -> Finding:
    """It does not work."""
    return Finding(check, Level.WRONG, what, advice)


def skipped(check: str, why: str) -> Finding:
    """It was not looked at."""
    return Finding(check, Level.SKIPPED, why)
