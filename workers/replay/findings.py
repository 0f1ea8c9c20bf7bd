"""What a replay has found."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at: whether it holds, and what was seen. It names nobody."""

    name: str
    passed: bool
    what: str


@dataclass
class Report:
    """All checks of one replay, and how requests and shards were drawn."""

    model: str
    version: int | None
    checks: list[Check] = field(default_factory=list)
    sample: dict[str, Any] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether every check holds."""
        return all(check.passed for check in self.checks)

    def add(self, name: str, problems: list[str], fine: str) -> None:
        """Note a check: it fails with each of the problems, or passes with what is `fine`."""
        for problem in problems:
            self.checks.append(Check(name, False, problem))
        if not problems:
            self.checks.append(Check(name, True, fine))

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {**asdict(self), "passed": self.passed}
