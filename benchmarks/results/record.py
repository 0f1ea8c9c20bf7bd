"""Raw numbers of one part, as JSON: what was asked, on what machine, and one row per measurement."""

import json
import os
import platform
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

Row = dict[str, str | int | float | bool | None]
FIGURES = 6
"""Significant figures kept: enough for every table, and small files."""


@dataclass
class Record:
    """The numbers of one part on one data set; `rows` name their seed and method."""

    part: str
    data: str
    settings: dict[str, str | int | float | list[int] | list[float]]
    rows: list[Row] = field(default_factory=list)
    machine: dict[str, str | int | float] = field(default_factory=dict)

    def add(self, **values: str | int | float | bool | None) -> None:
        """Note one measurement and print it."""
        row = {name: rounded(value) for name, value in values.items()}
        self.rows.append(row)
        print(f"{self.part} {self.data}: " + ", ".join(f"{name} {value}" for name, value in row.items()), flush=True)

    def write(self, folder: Path) -> Path:
        """Write the file of this part and data set, with the machine's facts, and return its path."""
        self.machine = machine()
        path = folder / f"{self.part}-{self.data}.json"
        folder.mkdir(parents=True, exist_ok=True)
        fields = asdict(self)
        rows = fields.pop("rows")
        lines = ",\n  ".join(json.dumps(row) for row in rows)
        head = json.dumps(fields, indent=1)
        path.write_text(f'{head[:-2]},\n "rows": [\n  {lines}\n ]\n}}\n')
        return path


def read_record(path: Path) -> Record:
    """Read `write` back."""
    return Record(**json.loads(path.read_text()))


def rounded(value: str | int | float | bool | None) -> str | int | float | bool | None:
    """Return floats with six significant figures."""
    return float(f"{value:.{FIGURES}g}") if isinstance(value, float) else value


def machine() -> dict[str, str | int | float]:
    """Return what the times depend on, and how busy it was when the part ended."""
    return {
        "cores": os.cpu_count() or 0,
        "machine": platform.machine(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 1),
    }
