"""Puts tables made from the files of numbers into the document, between its marks.

A mark is a pair of comments, `<!-- begin NAME -->` and `<!-- end NAME -->`; what stands between them is replaced.
"""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.results import tables

SCENARIOS = ("10 % in 10 requests", "one class", "one record")
TABLES: dict[str, Callable[[Path], str]] = {
    "accuracy": tables.accuracy,
    "gaps": tables.gaps,
    "losses": tables.losses,
    "core share": tables.core_share,
    **{
        f"forgetting {name} {scenario}": partial(tables.forgetting, name=name, scenario=scenario)
        for name in tables.DATA
        for scenario in SCENARIOS
    },
    **{f"speed {grows}": partial(tables.speed, grows=grows) for grows in ("batch", "records", "width")},
}
MARKED = re.compile(r"(<!-- begin (?P<name>[^>]+?) -->\n).*?(<!-- end (?P=name) -->)", re.DOTALL)


def write(document: Path, folder: Path) -> list[str]:
    """Replace every marked table, and return their names."""
    done = []

    def fresh(found: re.Match[str]) -> str:
        done.append(found["name"])
        return f"{found[1]}\n{TABLES[found['name']](folder)}\n\n{found[3]}"

    document.write_text(MARKED.sub(fresh, document.read_text()))
    return done
