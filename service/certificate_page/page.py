"""Writing a certificate out as one page: the same facts in plain words, to be read, printed and filed.

The page is complete in itself: no script, no picture, no address that a browser would fetch. Its only style stands in
it and is allowed by its hash. What is signed is the certificate, not the page; so the page says which one it is of.
"""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import datetime
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from evidence.consistency import FIRST

_STYLE = files("service.certificate_page").joinpath("certificate.css").read_text(encoding="utf-8")
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )
}
"""Sent with the page."""

LAWS = {
    "gdpr": "the General Data Protection Regulation (GDPR), Articles 12 and 17",
    "ccpa": "the California Consumer Privacy Act (CCPA)",
}
SELECTED = {
    "subjects": "everything that was stored about the people whom the request names",
    "records": "the records that the request names",
    "labels": "every record of the classes that the request names",
    "everything": "every record of the cohorts that the request names",
    "correction": "the former content of records that were corrected",
}
OUTCOMES = {
    "erased": "The records were erased.",
    "partially_core": "The records were erased from everything that is learned from people. Equal content stays in a "
    "public collection.",
}
FACTS = (
    ("removed", "The sums that the model rests on moved by exactly the erased records, and by nothing else."),
    ("solved", "The model was computed anew from the sums without those records."),
    ("gone", "Records, and earlier models and sums, were deleted, and looked for afterwards: nothing was found."),
    ("unserved", "No process answers any more from a model that knew the records."),
)
METHODS = {
    "exact": "solved exactly: it equals, bit for bit, a model that never saw the records",
    "krylov": "solved step by step up to a stated distance, and published with random noise",
    "sgd": "solved step by step up to a stated distance, and published with random noise",
}


def render(envelope: bytes) -> str:
    """Return the page of an erasure certificate (a DSSE envelope), of either form. Checks no signature."""
    statement: dict[str, Any] = json.loads(base64.b64decode(json.loads(envelope)["payload"]))
    return _PAGE.render(
        style=_STYLE,
        statement=statement,
        said=statement["predicate"],
        first_form=statement["predicateType"] == FIRST,
        sha256=hashlib.sha256(envelope).hexdigest(),
        laws=LAWS,
        selected=SELECTED,
        outcomes=OUTCOMES,
        facts=FACTS,
        methods=METHODS,
    )


def moment(text: str) -> str:
    """Return a time of a certificate as `31 January 2026, 12:00:05 UTC`."""
    found = datetime.fromisoformat(text)
    return f"{found.day} {found:%B %Y, %H:%M:%S} UTC"


def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("service.certificate_page", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["moment"] = moment
    return made


_PAGE = _environment().get_template("certificate.html")
