"""A missing browser is seen: skipped with the reason, or failed where one is required."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from support.browsing import launch

NOWHERE: Any = SimpleNamespace(chromium=SimpleNamespace(executable_path="/nowhere/chrome"))


@pytest.mark.parametrize(
    ("required", "outcome"), [(None, pytest.skip.Exception), ("0", pytest.skip.Exception), ("1", pytest.fail.Exception)]
)
def test_without_a_browser(monkeypatch: pytest.MonkeyPatch, required: str | None, outcome: type[BaseException]) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("LACUNA_REQUIRE_BROWSER", raising=False)
    if required is not None:
        monkeypatch.setenv("LACUNA_REQUIRE_BROWSER", required)
    with pytest.raises(outcome, match="no Chromium is installed"):
        launch(NOWHERE)
