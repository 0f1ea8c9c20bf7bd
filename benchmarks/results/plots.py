"""Plots of docs/results.md, as SVG, from the files of numbers alone. Lines are means over seeds, bands their range."""

import statistics
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.results.record import Row
from benchmarks.results.tables import DATA, records

INFORMATION, EXACT, ERROR = "#b3352d", "#e39b3b", "#2a5db0"
STYLES = ("-", "--", ":")
AXES = {"sigma": "noise, standard deviation", "epochs": "passes over the data per request", "mu": "regularization, mu"}


def draw(folder: Path) -> list[Path]:
    """Draw every figure whose numbers are in the folder and return the files."""
    mpl.rcParams["svg.hashsalt"] = "lacuna"  # equal numbers give equal files
    drawn = []
    for part, name, sweep, across, split in (
        ("noise", "figure-6-2-noise", "noise", "sigma", None),
        ("noise", "figure-6-2-iterations", "epochs", "epochs", None),
        ("noise", "figure-6-4", "noise", "sigma", "gradient"),
        ("core-share", "figure-6-5", "core", "sigma", "share"),
        ("regularization", "figure-6-8", "mu", "mu", None),
    ):
        found = {data: select(record.rows, sweep, split) for data, record in records(folder, part).items()}
        if any(found.values()):
            drawn.append(figure(folder / f"{name}.svg", found, across, split))
    return drawn


def select(rows: Sequence[Row], sweep: str, split: str | None) -> list[Row]:
    """Return the points of one sweep; without a split only those with the complete gradient."""
    points = [row for row in rows if row["sweep"] == sweep and "nats" in row]
    return [row for row in points if split is not None or row["gradient"] == "complete"]


def figure(path: Path, found: dict[str, list[Row]], across: str, split: str | None) -> Path:
    """Draw one panel per data set: nats on the left axis, test error on the right one."""
    sheet = Figure(figsize=(4.6 * len(found), 4.0), layout="constrained")
    panels = sheet.subplots(1, len(found), squeeze=False)[0]
    for panel, (data, rows) in zip(panels, found.items(), strict=True):
        other = panel.twinx()
        groups = sorted({str(row[split]) for row in rows}) if split else [""]
        for style, group in zip(STYLES, groups, strict=False):
            own = [row for row in rows if not split or str(row[split]) == group]
            name = f" ({float(group):.0%} of the core near)" if split == "share" else f" ({group})" if split else ""
            line(panel, own, across, "nats", INFORMATION, style, f"bound, ten requests{name}")
            if split != "share":
                line(panel, own, across, "last_divergence", EXACT, style, f"exact, last release{name}")
            line(other, own, across, "test_error", ERROR, style, f"error{name}")
        if not split:
            line(other, rows, across, "retrained_error", "0.6", "-", "error, retrained")
        panel.set(title=DATA[data], xlabel=AXES[across], yscale="log")
        panel.set_xscale("linear" if across == "epochs" else "log")
        panel.set_ylabel("information left, nats", color=INFORMATION)
        other.set_ylabel("test error, %", color=ERROR)
        other.set_ylim(bottom=0)
        handles = [*panel.get_legend_handles_labels()[0], *other.get_legend_handles_labels()[0]]
        panel.legend(
            handles=handles, fontsize=7, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.18), frameon=False
        )
    sheet.savefig(path, metadata={"Date": None})
    return path


def line(panel: Axes, rows: Sequence[Row], across: str, column: str, color: str, style: str, label: str) -> None:
    """Draw the mean over seeds at every place, and the range as a band."""
    places = sorted({float(row[across] or 0) for row in rows})
    at = [[float(row[column] or 0) for row in rows if float(row[across] or 0) == place] for place in places]
    panel.plot(places, [statistics.fmean(v) for v in at], style, color=color, label=label, marker=".", markersize=4)
    panel.fill_between(places, [min(v) for v in at], [max(v) for v in at], color=color, alpha=0.15, linewidth=0)
