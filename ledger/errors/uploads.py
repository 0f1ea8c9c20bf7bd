"""What may not be stored."""

from ledger.errors.base import LedgerError


class RecordsClash(LedgerError):
    """Records of the same subject with the same ids are stored already."""

    def __init__(self, count: int) -> None:
        super().__init__(
            f"{count} of these records have the subject and id of a stored record. "
            "Nothing was stored: leave them out, or forget the old ones first."
        )
        self.count = count


class SubjectSuppressed(LedgerError):
    """The upload brings back subjects who were forgotten. `rows` is empty when they asked for it during the upload."""

    def __init__(self, rows: list[int], *, count: int | None = None) -> None:
        shown = ", ".join(str(row) for row in rows[:20]) + (", ..." if len(rows) > 20 else "")
        where = f" (rows {shown})" if rows else " while the upload was coming in"
        super().__init__(
            f"{len(rows) if count is None else count} rows belong to subjects who asked to be forgotten{where}. "
            "Nothing was stored: leave these rows out."
        )
        self.rows = rows


class TooManyOfOneSubject(LedgerError):
    """Some subject would have more stored records than one may have."""

    def __init__(self, most: int, subjects: int) -> None:
        """`subjects`: how many of the upload's subjects that are."""
        super().__init__(
            f"One subject may have {most} stored records, and {subjects} of the subjects in this upload would have "
            "more. Nothing was stored: leave out some of their records, or ask the operator for a larger quota."
        )


class RecordsUnknown(LedgerError):
    """Rows of a correction replace nothing. `rows` is empty when the records went while the upload was coming in."""

    def __init__(self, rows: list[int], *, count: int | None = None) -> None:
        super().__init__(
            f"{len(rows) if count is None else count} rows name no stored record of that subject and id, or one that "
            f"is being forgotten{_places(rows)}. Nothing was stored: leave these rows out, and send every other with "
            "the id and the subject that it was uploaded with."
        )
        self.rows = rows


class SubjectHeld(LedgerError):
    """Rows of a correction name records that a hold keeps. `rows` is empty when the hold came during the upload."""

    def __init__(self, rows: list[int], *, count: int | None = None) -> None:
        super().__init__(
            f"{len(rows) if count is None else count} rows would replace records that are on hold{_places(rows)}. "
            "Nothing was stored: leave these rows out until the hold is released."
        )
        self.rows = rows


class UploadClosed(LedgerError):
    """The upload was finished, given up or timed out before."""

    def __init__(self, upload_id: str) -> None:
        super().__init__(f"Upload {upload_id} is closed. Nothing of it was kept unless it had finished; send it anew.")


class UploadIncomplete(LedgerError):
    """Fewer bytes have arrived than were announced, or none."""

    def __init__(self, received: int, announced: int | None) -> None:
        super().__init__(
            f"{received} of {announced if announced is not None else 'no'} announced bytes have arrived. "
            "Send the rest, then finish the upload."
        )


class OffsetMismatch(LedgerError):
    """A part does not begin where the last one ended."""

    def __init__(self, expected: int) -> None:
        super().__init__(f"The next byte of this upload is number {expected}. Send the file from there.")
        self.expected = expected


def _places(rows: list[int]) -> str:
    if not rows:
        return " by now"
    return f" (rows {', '.join(str(row) for row in rows[:20])}{', ...' if len(rows) > 20 else ''})"
