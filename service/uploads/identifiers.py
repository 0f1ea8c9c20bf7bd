"""Checking the subjects and ids of a whole upload before anything of it is stored."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from ledger.errors import InvalidIdentifier
from ledger.identity import normalise
from service.refusals import UploadRefused
from service.uploads.records import Chunk

_TAG = 16  # bytes; two different pairs share a tag once in 10^24 uploads of ten million rows
RECORD_ID = "record-id"


class IdentifierCheck:
    """Sees every row once. Keeps 16 bytes per row: a keyed hash of (subject, id), never the text itself."""

    def __init__(self, subject_type: str, *, key: bytes) -> None:
        """`key`: 32 random bytes, so that nobody can prepare two pairs with the same tag."""
        self._type = subject_type
        self._key = key
        self._tags = bytearray()

    def see(self, chunk: Chunk) -> None:
        """Check that every text is a possible identifier. Raises UploadRefused with the rows."""
        subjects = self._normalised("subject", self._type, chunk.subjects, chunk.first)
        ids = self._normalised("id", RECORD_ID, chunk.ids, chunk.first)
        if ids is None:
            return  # records without ids of their own cannot repeat each other
        for row, name in enumerate(ids):
            owner = b"\x01" + subjects[row].encode() if subjects is not None else b"\x00"
            message = len(owner).to_bytes(4, "big") + owner + name.encode()
            self._tags += hashlib.blake2b(message, digest_size=_TAG, key=self._key).digest()

    def finish(self) -> None:
        """Raises UploadRefused: two rows have the same subject and id."""
        tags = np.frombuffer(self._tags, dtype=[("high", "<u8"), ("low", "<u8")])
        order = np.argsort(tags, order=("high", "low"), kind="stable")
        ordered = tags[order]
        repeated = np.flatnonzero(ordered[1:] == ordered[:-1]) + 1
        if repeated.size:
            rows = sorted(int(row) for row in order[repeated])
            why = "rows repeat the id of an earlier row of the same subject"
            raise UploadRefused(
                why, "Give every record of a subject its own id, or send no ids", member="id", rows=rows
            )

    def _normalised(self, member: str, kind: str, texts: Sequence[str] | None, first: int) -> list[str] | None:
        if texts is None:
            return None
        found: list[str] = []
        broken: list[int] = []
        why = ""
        for row, text in enumerate(texts):
            try:
                found.append(normalise(kind, text))
            except InvalidIdentifier as problem:
                broken.append(first + row)
                why = problem.why
        if broken:
            raise UploadRefused(
                f"{member} has texts that cannot be used: {why}", "Correct them", member=member, rows=broken
            )
        return found
