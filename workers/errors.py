"""What can go wrong while a job runs.

WorkError
├── DeviceMissing     torch finds no GPU
├── CheckFailed       a new version did not pass a check: it is not published
├── NothingToLearn    a cohort that is needed has no records
├── NoRidge           no candidate for mu gives a solve that can be proved
├── PartFailed        a part of a large job was given up
├── Outdated          a model got another version while a dry run measured the old one
├── KeepsMoving       a model got version after version while it was replayed
├── StillServed       an API process may still answer from an old version
├── StillWorked       other jobs work on a model that is to be destroyed
├── StillWritten      another job may be writing what is to be gone
└── WorkerLost        worker after worker died while doing a job
"""

from __future__ import annotations

from collections.abc import Sequence


class WorkError(Exception):
    """Base of what jobs raise on purpose."""


class DeviceMissing(WorkError):
    """The device that a worker should compute on is not there."""

    def __init__(self, device: str) -> None:
        super().__init__(
            f"torch finds no device {device!r}. Install its driver and a build of torch for it, or start the worker "
            "for the queue cpu."
        )


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


class NoRidge(WorkError):
    """The solve cannot be proved accurate enough at any of the model's candidates for mu."""

    def __init__(self) -> None:
        super().__init__(
            "The float error of the solve exceeds the residual budget at every mu that this model may choose. "
            "Register it with a narrower feature map, or without a residual budget of your own."
        )


class PartFailed(WorkError):
    """A part of a large job was given up, so the job cannot be done."""

    def __init__(self, errors: Sequence[str]) -> None:
        super().__init__(
            f"{len(errors)} of the job's parts failed, the first with: {errors[0]} "
            "Repair that, then retry this job; what the other parts have done stays."
        )


class Outdated(WorkError):
    """A model got another version while a dry run measured the one before."""

    def __init__(self) -> None:
        super().__init__("A model has got another version meanwhile. The dry run begins again.")


class KeepsMoving(WorkError):
    """A model got version after version while it was replayed."""

    def __init__(self) -> None:
        super().__init__("The model got new versions while it was replayed. Replay it again when less is forgotten.")


class StillServed(WorkError):
    """An API process holds a lease on an old version; its memory may not be called gone yet."""

    def __init__(self, processes: int) -> None:
        super().__init__(f"{processes} API processes may still answer from an old version. The job waits for them.")
        self.processes = processes


class StillWorked(WorkError):
    """Other jobs of a retired model are running; what they have in memory may not be called gone yet."""

    def __init__(self, running: int) -> None:
        super().__init__(f"{running} other jobs of the model are still running. The job waits for them.")
        self.running = running


class StillWritten(WorkError):
    """Other jobs make features from record shards that they may have read before a purge replaced them."""

    def __init__(self, objects: int) -> None:
        super().__init__(f"{objects} feature objects are still being written by other jobs. The job waits for them.")
        self.objects = objects


class WorkerLost(WorkError):
    """The workers that had this job died, or slept through their leases."""

    def __init__(self, attempts: int) -> None:
        super().__init__(
            f"{attempts} workers in a row died or lost their lease while doing this job. "
            "Look into their logs (too little memory is the usual cause), then retry the job."
        )
