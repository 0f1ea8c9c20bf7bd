"""Whether what a certificate states can all be true at once: subjects, versions, bounds, times, digests, what stays.

Nothing here needs the service: a signed certificate that contradicts itself was made by faulty or forged means.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

FIRST = "https://lacuna.dev/erasure-certificate/v1"
ERASURE = "https://lacuna.dev/erasure-certificate/v2"
FACTS = ("removed", "solved", "gone", "unserved")
OUTCOMES = ("erased", "partially_core")
METHODS = ("exact", "krylov", "sgd")
DIGESTS = ("core", "map", "input_spec")
_DIGEST = re.compile(r"[0-9a-f]{64}")


def contradictions(statement: dict[str, Any], now: datetime) -> Iterator[str]:
    """Yield what does not fit together in a statement of one of the two forms; the first one suffices to refuse it."""
    try:
        yield from _of_both_forms(statement, now)
        if statement["predicateType"] == ERASURE:
            yield from _of_the_second_form(statement["predicate"])
    except (KeyError, TypeError, AttributeError, ValueError, InvalidOperation) as problem:
        yield f"something is missing or of another kind ({type(problem).__name__}: {problem})"


def _of_both_forms(statement: dict[str, Any], now: datetime) -> Iterator[str]:
    predicate, request = statement["predicate"], statement["predicate"]["request"]
    models = predicate["models"]
    digests = [subject["digest"]["hmac-sha256"] for subject in statement["subject"]]
    if digests != [model["weights_commitment"] for model in models]:
        yield "its subjects are not the versions that it describes"
    for model, subject in zip(models, statement["subject"], strict=True):
        if not subject["name"].endswith(f"@{model['version']}"):
            yield f"the subject {subject['name']} is not version {model['version']}"
        if not 1 <= model["anchor_version"] <= model["version"]:
            yield f"version {model['version']} cannot rest on version {model['anchor_version']}"
    for name in FACTS:
        if predicate["facts"][name]["holds"] is not True:
            yield f"the fact {name!r} does not hold"
    for bound in ("output_bound", "state_bound"):
        total = sum((Decimal(model.get(bound, "0")) for model in models), Decimal(0))
        if Decimal(predicate["bounds"][bound]["value"]) != total or total < 0:
            yield f"{bound} is not the sum over the models"
    received, completed = _time(request["received_at"]), _time(request["completed_at"])
    erased, backups = _time(predicate["erased_live_at"]), _time(predicate["unrecoverable_from_backups_after"])
    if not received <= erased <= completed or backups < erased:
        yield "its times are not in order"
    if completed > now:
        yield f"it was completed in the future, at {request['completed_at']}; one of the two clocks is wrong"


def _of_the_second_form(predicate: dict[str, Any]) -> Iterator[str]:
    request, commitment = predicate["request"], predicate["commitments"]["named"]
    if predicate["outcome"] not in OUTCOMES:
        yield f"it certifies the outcome {predicate['outcome']!r}"
    if (predicate["outcome"] == "partially_core") != ("core_overlap" in predicate):
        yield "its outcome and what it says about the core do not agree"
    if commitment is not None and not _is_digest(commitment):
        yield "the commitment to what was named is none"
    if commitment is None and request["selector"] == "subjects" and predicate["commitments"]["receipts"]:
        yield "there is a receipt, and nothing that it could open"
    for model in predicate["models"]:
        yield from _of_a_model(model)
    if not predicate["code"]["version"] or not _is_digest(predicate["code"]["sha256"]):
        yield "it does not say which code made it"
    _time(request["published_at"])
    if _time(predicate["facts"]["unserved"]["since"]) > _time(predicate["erased_live_at"]):
        yield "the records were erased before the old versions were out of service"
    for kept in predicate["retained"]:
        if not kept["what"] or not kept["purpose"] or not kept["ends"]:
            yield "it keeps something without saying what, why or for how long"
        if kept["until"] is not None and _time(kept["until"]) < _time(request["received_at"]):
            yield "it keeps something until a time before the request"
    if not predicate["retained"] or not all(predicate["revocation"][name] for name in ("certificates", "keys")):
        yield "it names nothing that is kept, or no place where it could be revoked"
    if not all(predicate[name] for name in ("adversary", "assumptions", "not_covered")):
        yield "it names no adversary, no assumptions or nothing that it does not cover"
    for name in FACTS:
        if not predicate["facts"][name]["evidence"]:
            yield f"the fact {name!r} has no evidence"


def _of_a_model(model: dict[str, Any]) -> Iterator[str]:
    called = f"version {model['version']}"
    named = [model["weights_commitment"], model["statistics_commitment"], model["public_digest"]]
    # None: the model is older than the digests of its parts, and was destroyed before they could be made.
    parts = [] if model["digests"] is None else [model["digests"][part] for part in DIGESTS]
    if not all(_is_digest(digest) for digest in (*named, *parts)):
        yield f"{called} has a digest or a commitment that is none"
    if model["method"] not in METHODS or not model["mu"]:
        yield f"{called} was not solved in any way that there is"
    output, state = Decimal(model["output_bound"]), Decimal(model["state_bound"])
    if not 0 <= output <= state:
        yield f"{called} tells more in what is published than in all that is kept"
    if model["method"] == "exact" and state:
        yield f"{called} was solved exactly, and still tells something"
    if model["method"] != "exact" and output != Decimal(model["kappa"]) * model["releases"]:
        yield f"the bound of {called} is not kappa for each version of its model"
    if any(model["checks"][name] != "pass" for name in ("transition", "residual")):
        yield f"a check of {called} has not passed"


def _is_digest(text: object) -> bool:
    return isinstance(text, str) and _DIGEST.fullmatch(text) is not None


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
