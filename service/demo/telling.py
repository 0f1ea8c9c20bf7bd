"""How the demo speaks: numbered steps, indented sentences, progress bars."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.padding import Padding
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

INDENT = 3


def step(console: Console, number: int, words: str) -> None:
    """Begin a step."""
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_row(f"[bold]{number}.[/]", words)
    console.print(table)


def say(console: Console, words: str, *, style: str = "") -> None:
    """Say a sentence within a step."""
    console.print(Padding(Text.from_markup(words, style=style), (0, 0, 0, INDENT), expand=False))


class Bars:
    """One progress bar per named step, shown from the start in the given order."""

    def __init__(self, console: Console, steps: Mapping[str, str], *, transient: bool = False) -> None:
        """`steps` maps a name to the words beside its bar; `transient` takes the bars away at the end."""
        columns = (TextColumn("   {task.description:<30}"), BarColumn(24), TextColumn("{task.percentage:>3.0f} %"))
        self._progress = Progress(*columns, TimeElapsedColumn(), console=console, transient=transient)
        self._tasks = {name: self._progress.add_task(words, total=1.0, start=False) for name, words in steps.items()}
        self._begun: set[str] = set()

    def __enter__(self) -> Self:
        """Begin to draw."""
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop drawing."""
        self._progress.stop()

    def show(self, name: str, fraction: float) -> None:
        """Move a bar to `fraction` (0 to 1); its clock starts with the first call."""
        task = self._tasks[name]
        if name not in self._begun:
            self._begun.add(name)
            self._progress.start_task(task)
        self._progress.update(task, completed=fraction)
