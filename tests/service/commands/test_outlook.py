"""How a dry run's answer is printed."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from service.commands.outlook import outlook

MODEL = {
    "model": "0123456789abcdef0123456789abcdef",
    "version": 3,
    "records": 4,
    "evaluated": 200,
    "accuracy_before": 0.98,
    "accuracy_after": 0.975,
    "largest_change": 0.12345,
    "mean_change": 0.001,
    "labels_flipped": 2,
    "exposure": None,
    "exposure_note": "Infinite. Because.",
    "seconds": 0.25,
    "problem": None,
}
FOUND = {"outcome": "erased", "records": 4, "held": 1, "in_core": 0, "due_at": "2026-12-20T23:59:59Z"}


def printed(**found: Any) -> str:
    file = io.StringIO()
    outlook(Console(file=file, width=200), {**FOUND, **found})
    return file.getvalue()


def test_every_fact_is_said() -> None:
    text = printed(models=[MODEL, {**MODEL, "model": "f" * 32}])
    for part in ("Nothing was changed", "erased", "2026-12-20", "98.0 % -> 97.5 %", "2 of 200", "0.1235", "0.250"):
        assert part in text, part
    assert text.count("Infinite. Because.") == 1
    assert "refuse" not in text


def test_what_is_not_known_is_a_dash() -> None:
    nothing = dict.fromkeys(("accuracy_before", "accuracy_after", "largest_change", "mean_change", "labels_flipped"))
    assert "- -> -" in printed(models=[{**MODEL, **nothing, "evaluated": 0}])
    assert "Models" not in printed(models=[], outcome="no_match", records=0)


def test_a_model_that_would_refuse_says_why_and_a_known_exposure_needs_no_note() -> None:
    text = printed(models=[{**MODEL, "problem": "the [solve] cannot be proved", "exposure": 0.5}])
    assert "would refuse: the [solve] cannot be proved" in text
    assert "Infinite" not in text
