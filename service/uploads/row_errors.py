"""Everything that is wrong with an upload's rows, gathered while it is read to its end."""

from __future__ import annotations

from collections.abc import Iterable

from service.refusals import MOST_ROWS_SHOWN, RowFault, UploadRefused

SEVERAL = "Correct these rows and send everything again"


class RowErrors:
    """Counts all faults and keeps the numbers of the first 20 rows. Never keeps what stood in them."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], list[int]] = {}
        self._counts: dict[tuple[str, str], int] = {}
        self._advice: dict[tuple[str, str], str] = {}
        self._shown = 0

    def __bool__(self) -> bool:
        return bool(self._counts)

    def add(self, member: str, why: str, rows: Iterable[int], advice: str) -> None:
        """Note that `member` is wrong in these rows. `why` and `advice` come from a fixed set: no values in them."""
        kind = (member, why)
        for row in rows:
            self._counts[kind] = self._counts.get(kind, 0) + 1
            self._advice.setdefault(kind, advice)
            if self._shown < MOST_ROWS_SHOWN:
                self._rows.setdefault(kind, []).append(int(row))
                self._shown += 1

    def raise_if_any(self) -> None:
        """Raises UploadRefused with all of them."""
        if not self:
            return
        faults = [
            RowFault(member, why, tuple(self._rows.get((member, why), ())), count)
            for (member, why), count in self._counts.items()
        ]
        advice = next(iter(self._advice.values())) if len(faults) == 1 else SEVERAL
        raise UploadRefused("; ".join(map(str, faults)), advice, faults=faults)
