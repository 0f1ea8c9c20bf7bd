"""Checking the subjects and ids of a whole upload before anything of it is stored."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence

import numpy as np

from ledger.errors import InvalidIdentifier
from ledger.identity import normalise
from service.uploads.records import Chunk
from service.uploads.row_errors import RowErrors

_TAG = 16  # bytes; two different pairs share a tag once in 10^24 uploads of ten million rows
RECORD_ID = "record-id"


class IdentifierCheck:
    """Sees every row once. Keeps its number and 16 bytes: a keyed hash of (subject, id), never the text itself."""

    def __init__(self, subject_type: str, *, key: bytes) -> None:
        """`key`: 32 random bytes, so that nobody can prepare two pairs with the same tag."""
        self._type = subject_type
        self._key = key
        self._tags = bytearray()
        self._rows = array("q")

    def see(self, chunk: Chunk, errors: RowErrors) -> None:
        """Check that every text is a possible identifier; what is wrong goes into `errors`."""
        subjects = self._normalised("subject", self._type, chunk.subjects, chunk.first, errors)
        ids = self._normalised("id", RECORD_ID, chunk.ids, chunk.first, errors)
        if ids is None:
            return  # records without ids of their own cannot repeat each other
        for row, name in enumerate(ids):
            subject = None if subjects is None else subjects[row]
            if name is None or (subject is None and chunk.subjects is not None and chunk.subjects[row] is not None):
                continue  # no id, or a subject that cannot be used
            owner = b"\x00" if subject is None else b"\x01" + subject.encode()
            message = len(owner).to_bytes(4, "big") + owner + name.encode()
            self._tags += hashlib.blake2b(message, digest_size=_TAG, key=self._key).digest()
            self._rows.append(chunk.first + row)

    def finish(self, errors: RowErrors) -> None:
        """Look for rows with the same subject and id; those that repeat an earlier one go into `errors`."""
        tags = np.frombuffer(self._tags, dtype=[("high", "<u8"), ("low", "<u8")])
        order = np.argsort(tags, order=("high", "low"), kind="stable")
        ordered = tags[order]
        repeated = np.flatnonzero(ordered[1:] == ordered[:-1]) + 1
        rows = sorted(self._rows[place] for place in order[repeated].tolist())
        why = "rows repeat the id of an earlier row of the same subject"
        errors.add("id", why, rows, "Give every record of a subject its own id, or send no ids")

    def _normalised(
        self, member: str, kind: str, texts: Sequence[str | None] | None, first: int, errors: RowErrors
    ) -> list[str | None] | None:
        if texts is None:
            return None
        found: list[str | None] = []
        for row, text in enumerate(texts):
            try:
                found.append(None if text is None else normalise(kind, text))
            except InvalidIdentifier as problem:
                found.append(None)
                why = f"{member} has texts that cannot be used: {problem.why}"
                errors.add(member, why, [first + row], "Correct them")
        return found
