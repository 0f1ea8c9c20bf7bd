"""Requests, models and jobs that are not in a state for what is asked."""

from ledger.errors.base import LedgerError


class NotFound(LedgerError):
    """There is no such thing, or it belongs to another tenant; which of these is not said."""

    def __init__(self, what: str, name: str) -> None:
        super().__init__(f"There is no {what} {name!r}. List what there is and use an id from the list.")
        self.what = what


class NameTaken(LedgerError):
    """The name is in use."""

    def __init__(self, what: str, name: str) -> None:
        super().__init__(f"A {what} named {name!r} exists already. Use that one, or choose another name.")


class WrongCohortKind(LedgerError):
    """The cohort cannot serve for this."""

    def __init__(self, name: str, *, got: str, needed: str) -> None:
        super().__init__(f"Cohort {name!r} has {got}, but this needs {needed}. Choose another cohort.")


class CoreNeverForgotten(LedgerError):
    """Core cohorts are public and cannot be forgotten."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"Cohort {name!r} is a core cohort: its records are public and its weights cannot forget them. "
            "Leave it out of the request; to stop using it, register a model on another core."
        )


class SelectorInvalid(LedgerError):
    """The request does not say clearly what to forget."""

    def __init__(self, why: str) -> None:
        super().__init__(f"The request does not say what to forget: {why}. Correct the selector and send it again.")


class ReasonRefused(LedgerError):
    """The reason of a hold names the person. It is shown to whoever may see holds."""

    def __init__(self) -> None:
        super().__init__(
            "The reason names the subject or an e-mail address. Nothing was stored: "
            "say why without saying who, for example by the number of the case."
        )


class LineageBroken(LedgerError):
    """What a model rests on is not public by the ledger. Its erasures are done, but nothing is certified."""

    def __init__(self, flaws: list[str]) -> None:
        super().__init__(
            f"No certificate can be given: {'; '.join(flaws)}. Everything selected is erased, but forgetting is "
            "certified only above a public core. Correct what the ledger says, then retry the job."
        )


class WrongState(LedgerError):
    """The thing is in a state in which this cannot be done."""

    def __init__(self, what: str, state: str, needed: str) -> None:
        super().__init__(f"The {what} is {state}; this can be done only while it is {needed}.")
        self.state = state


class ModelRetired(LedgerError):
    """The model is being destroyed, or is destroyed: nothing is made for it any more."""

    def __init__(self, state: str) -> None:
        super().__init__(f"The model is {state}: it learns and answers nothing any more. Register another one.")
        self.state = state


class SuccessorPending(LedgerError):
    """The model has a successor in the making; there is one at a time."""

    def __init__(self, successor_id: str) -> None:
        super().__init__(
            f"The model has a successor already, {successor_id}. Let it take over, or delete it, then register another."
        )


class SuccessorNotReady(LedgerError):
    """The model's successor cannot take over now."""

    def __init__(self, why: str) -> None:
        super().__init__(f"No successor can take over now: {why}. Nothing was changed.")
        self.why = why


class LeaseLost(LedgerError):
    """The worker's lease on a job ran out, or another worker holds it: whatever it made must not be published."""

    def __init__(self, job_id: int) -> None:
        super().__init__(f"The lease on job {job_id} is lost; another worker does it, or will. Publish nothing.")


class PublishConflict(LedgerError):
    """The model's applied sequence number is not the one that the new version started from."""

    def __init__(self, model_id: str) -> None:
        super().__init__(f"Model {model_id} moved on meanwhile. Start again from its active version.")
