"""What can go wrong while a job runs.

WorkError
├── CheckFailed       a new version did not pass a check: it is not published
├── NothingToLearn    a cohort that is needed has no records
└── StillServed       an API process may still answer from an old version
"""

from __future__ import annotations


class WorkError(Exception):
    """Base of what jobs raise on purpose."""


class CheckFailed(WorkError):
    """A new version did not pass one of its checks. Nothing was published."""

    def __init__(self, check: str, facts: str) -> None:
        super().__init__(
            f"The check {check!r} failed: {facts}. The version was not published; the job is tried again, "
            "and if it keeps failing the stored statistics must be rebuilt."
        )
        self.check = check


class NothingToLearn(WorkError):
    """A cohort that a model needs has no records."""

    def __init__(self, what: str) -> None:
        super().__init__(f"The {what} cohort has too few records. Upload some, then retry the job.")


class StillServed(WorkError):
    """An API process holds a lease on an old version; its memory may not be called gone yet."""

    def __init__(self, processes: int) -> None:
        super().__init__(f"{processes} API processes may still answer from an old version. The job waits for them.")
        self.processes = processes
